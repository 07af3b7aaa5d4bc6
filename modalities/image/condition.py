"""The condition encoder of images."""

from common.conditions import FieldEncoder


class AttributeEncoder(FieldEncoder):
    """Class labels, categorical or binary attributes and continuous ones (age), each optional at generation time."""
