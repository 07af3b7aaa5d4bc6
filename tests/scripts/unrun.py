"""Command lines of training scripts that stop before anything runs."""

from common.training.cli import SuiteCLI


class BuildOnly(SuiteCLI):
    """Builds everything and runs nothing."""

    def _run_subcommand(self, subcommand):
        pass


class ParseOnly(BuildOnly):
    """Builds nothing either: a configuration may ask for a device that is not there."""

    def instantiate_classes(self):
        pass

    def after_instantiate_classes(self):
        pass
