"""What ONNX needs: the optional packages of the extra `export`."""

from importlib.util import find_spec

NEEDED = ("onnx", "onnxscript", "onnxruntime")


def check_onnx() -> None:
    """Raises ModuleNotFoundError, which names the extra, where a package is missing; none is imported."""
    for package in NEEDED:
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"ONNX needs {package}: pip install --editable '.[export]'")
