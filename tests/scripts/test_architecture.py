"""The picture of the layers is that of the contracts and imports."""

from scripts.architecture import drawing, floors, imports


def test_floors_are_those_of_the_contracts():
    rows = floors()
    assert [title for title, _ in rows[:3]] == ["scripts", "modalities", "common"]
    assert rows[1][1] == ["modalities.image", "modalities.text", "modalities.audio", "modalities.tabular"]
    assert rows[2][1] == ["common.dashboard"]


def test_arrows_lead_down_and_none_follows_from_others():
    rooms = [room for _, row in floors() for room in row]
    arrows = imports(rooms)
    assert all(rooms.index(upper) < rooms.index(lower) for upper, lower in arrows)
    assert ("common.training", "common.evaluation") in arrows
    assert ("common.training", "common.model") not in arrows  # that follows by way of evaluation


def test_every_room_is_drawn():
    picture = drawing()
    for _, row in floors():
        for room in row:
            assert f">{room.rpartition('.')[2]}</text>" in picture
