"""Shows measurements as tables, plots and pages."""
