"""Folders of a user's files: what is read, what is passed over, and the splits that folders are named after."""

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.data.splits import Split, split_of
from common.data.texts import Files, folders_of

# What editors, notebooks, archives and operating systems leave behind; names that begin with a point are such as well.
LEFT_BEHIND = {"__macosx", "__pycache__", "@eadir", "$recycle.bin", "lost+found", "thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Found:
    """The files of one kind below a folder.

    Attributes:
        root: the folder.
        files: sorted.
        passed_over: how many other files there are, by suffix.
    """

    root: Path
    files: Sequence[Path]
    passed_over: Counter[str] = field(default_factory=Counter)

    def notes(self) -> list[str]:
        """What was passed over, in a line; none if nothing was."""
        kinds = sorted(self.passed_over.items(), key=lambda item: (-item[1], item[0]))
        listed = ", ".join(f"{count:,} {suffix}" for suffix, count in kinds)
        return [f"passed over below {self.root}: {listed}"] if kinds else []


def is_left_behind(name: str) -> bool:
    """Whether a file or folder is none of the user's: `.ipynb_checkpoints`, `._a.png`, `Thumbs.db`, `~$a.xlsx` ..."""
    return name.startswith((".", "~$")) or name.lower() in LEFT_BEHIND or name.endswith((".partial", ".tmp"))


def files_below(root: Path, suffixes: Collection[str], kind: str) -> Found:
    """All files below a folder, links included, that have one of the suffixes in small or capital letters.

    Args:
        root: folder that is searched.
        suffixes: in small letters, with their dot.
        kind: what such a file is called in the message, "image" or "sound file".

    Raises:
        FileNotFoundError: if the folder does not exist or holds no such file.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder: set data.root, or $SUITE_DATA for the data root")
    found, passed_over = list[str](), Counter[str]()
    above: dict[str, tuple[str, ...]] = {}  # real paths of a folder and of those above it
    for folder, folders, names in os.walk(root, followlinks=True):
        parents, real = above.get(os.path.dirname(folder), ()), os.path.realpath(folder)
        if real in parents:  # a link to a folder above
            folders.clear()
            continue
        above[folder] = (*parents, real)
        folders[:] = sorted(name for name in folders if not is_left_behind(name))
        below = os.path.relpath(folder, root)
        for name in names:
            if is_left_behind(name):
                continue
            if name.lower().endswith(tuple(suffixes)):
                found.append(os.path.join("" if below == os.curdir else below, name))
            else:
                passed_over[Path(name).suffix.lower() or "without a suffix"] += 1
    found.sort(key=lambda name: name.replace(os.sep, "\0"))  # as paths are sorted: name by name
    result = Found(root, Files.below(root, found), passed_over)
    if not found:
        others = "".join(f"; {note}" for note in result.notes())
        raise FileNotFoundError(f"no {kind} below {root} (suffixes {', '.join(sorted(suffixes))}){others}")
    return result


def labels_and_splits(files: Sequence[Path], root: Path, labelled: bool = True) -> tuple[list[str], list[Split] | None]:
    """The folder that names the class of each file; and its split, if the outermost folders are `train`, `val`, `test`.

    The outermost folders are splits if they are named after at least two of them, `train` among these, or if `train` is
    the only one and holds folders.

    Args:
        files: below `root`.
        root: the folder.
        labelled: whether files have classes; without, all labels are empty, and files may lie in the folders of splits.

    Raises:
        ValueError: naming a file that lies in no class's folder, or beside the folders of splits.
    """
    parts = folders_of(files, root)
    splits = [split_of(names[0]) if names else None for names in parts]
    if None not in splits and "train" not in splits and len(set(splits)) > 1:
        raise ValueError(f"{root} holds folders of {' and '.join(sorted(set(map(str, splits))))}, and none of train")
    different = set(parts)
    second = {split_of(names[1]) for names in different if len(names) > 1}
    if len({names[:1] for names in different}) == 1 and splits[0] is None and {"train"} < second:
        raise ValueError(f"the folders of splits lie in {Path(root, parts[0][0])}: set data.root to it")
    nested = any(len(names) > 1 for names in different)
    several = {"train"} < set(splits) - {None} or (nested and set(splits) == {"train"})
    if several and None in splits:
        other = files[splits.index(None)]
        raise ValueError(
            f"{root} holds folders of splits and others side by side ({other}): move the others away, or name the "
            "split of each file in a table with a column split"
        )
    ready = several and (nested or not labelled)
    given = [split for split in splits if split] if ready else None
    if not labelled:
        return [""] * len(parts), given
    if several and not ready:
        raise ValueError(
            f"the folders of splits in {root} hold no folders of classes: put files into "
            f"{Path(root, parts[0][0])}/<class>/, or train without classes: data.condition []"
        )
    depth = 1 if ready else 0
    for file, names in zip(files, parts, strict=True):
        if len(names) < depth + 1:
            raise ValueError(
                f"{file} lies in no class's folder: put files into {Path(root, *names[:depth])}/<class>/, name a table "
                "of them with data.attributes, or train without classes: data.condition []"
            )
    return [names[depth] for names in parts], given
