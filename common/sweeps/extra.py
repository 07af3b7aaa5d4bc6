"""Optuna, which is an extra: without it, one line names what to install."""

try:
    import optuna
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("sweeps need Optuna: pip install --editable '.[sweeps]'") from error

optuna.logging.set_verbosity(optuna.logging.WARNING)

__all__ = ["optuna"]
