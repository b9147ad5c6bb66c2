"""Tables of text from files of any format: the rows of CSV, JSON and Parquet files, each row accounted for."""
