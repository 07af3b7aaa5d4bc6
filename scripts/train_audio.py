"""Trains, validates, tests or applies an audio-genre CVAE. Start from configs/audio/*.yaml."""

from common.command_line import run_training
from common.training.cli import SuiteCLI
from modalities.audio import AudioGenreCVAE
from modalities.audio.data import AudioData
from modalities.audio.evaluation.report import AudioReport

LINKS = [("attributes", "condition.init_args.attributes"), ("features", "features")]


def main(args: list[str] | None = None) -> SuiteCLI:
    """Runs a command line, by default that of the process."""
    return SuiteCLI(AudioGenreCVAE, AudioData, AudioReport, "audio", LINKS, args)


if __name__ == "__main__":
    run_training("train_audio.py", main)
