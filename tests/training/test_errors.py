"""The tree of errors in `training.errors` is complete."""

from importlib import import_module
from pkgutil import walk_packages

import training
from training import errors


def test_tree_names_every_kind_of_error_and_where_it_is_defined() -> None:
    """All modules of the trainer are searched."""
    for module in walk_packages(training.__path__, "training."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    kinds = errors.TrainingError.__subclasses__()

    assert len(kinds) >= 6
    assert [kind for kind in kinds if f"  {kind.__name__:<15}{kind.__module__}: " not in str(errors.__doc__)] == []
