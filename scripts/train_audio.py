"""Trains, validates, tests or applies an audio-genre CVAE. Start from configs/audio/*.yaml."""

from common.training.cli import SuiteCLI
from modalities.audio import AudioGenreCVAE
from modalities.audio.data.datamodules import AudioData

LINKS = [("attributes", "condition.init_args.attributes"), ("features", "features")]


def main(args: list[str] | None = None) -> SuiteCLI:
    """Runs a command line, that of the process where none is given."""
    return SuiteCLI(AudioGenreCVAE, AudioData, "audio", LINKS, args)


if __name__ == "__main__":
    main()
