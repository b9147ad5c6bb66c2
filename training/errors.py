"""What a person can mend, said in a sentence.

    TrainingError
      LogError       training.data.log: a log that cannot be used
      RecipeError    training.recipe: a recipe that cannot be followed
      RunError       training.fitting.checkpoint: a run that cannot go on
      ExportError    training.exporting.export: graphs that do not give the network's answers
      RowsError      training.reporting.rows: a file of rows that cannot be gone on with
      ReplayError    training.replaying.player: a service that cannot be compared

Each is defined where it is raised. The command line prints them without a traceback.
"""


class TrainingError(Exception):
    """The root; raised itself by the command line and where a memory would be empty."""
