"""What a person can mend, said in a sentence.

    TrainingError
      LogError       training.data.log: a log that cannot be used
      RecipeError    training.recipe: a recipe that cannot be followed
      RunError       training.fitting.checkpoint: a run that cannot go on
      ExportError    training.exporting.export: graphs that do not give the network's answers
      ReplayError    training.replaying.replay: a service that cannot be compared

Each is defined where it is raised. The command line prints them without a traceback.
"""


class TrainingError(Exception):
    """The root; raised itself only by the command line."""
