"""Tables of text, whatever file they lie in: the rows of CSV, JSON and Parquet files, each row accounted for."""
