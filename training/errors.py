"""Errors that a person can correct. The command line prints them as a sentence, without a traceback.

    TrainingError
      LogError       training.data.log: a log cannot be used
      RecipeError    training.recipe: a recipe cannot be used
      RunError       training.fitting.checkpoint: a run cannot continue
      ExportError    training.exporting.export: the graphs do not give the network's answers
      RowsError      training.reporting.rows: a file of rows cannot be continued
      ReplayError    training.replaying.player: a service cannot be compared
      TakeDownError  training.exporting.take_downs: take-downs cannot be read or applied
      ServiceError   training.running_service: a service does not answer, or refuses

Each is defined where it is raised.
"""


class TrainingError(Exception):
    """The root. Raised itself by the command line, and if a session memory would be empty."""
