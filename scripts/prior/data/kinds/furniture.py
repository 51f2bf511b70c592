"""Chairs, tables, beds and lamps; their fronts face -y."""

from __future__ import annotations

from scripts.prior.data.palette import COLOURS
from scripts.prior.data.shapes import ball, box, cylinder, joined, lathe, tube
from scripts.prior.data.workbench import Material, Subject, Workbench, with_article

FABRICS = ("red", "blue", "grey", "brown", "green", "white", "purple", "beige")


def _timber_or_paint(bench: Workbench, *paints: str) -> tuple[str, Material]:
    """Wood, or one of the paints, with the word for it."""
    name = bench.rng.choice(["wooden", *paints])
    return name, bench.wood() if name == "wooden" else bench.painted(COLOURS[name])


def chair(bench: Workbench) -> Subject:
    """Four legs, a seat, a back of slats, bars or a board."""
    rng = bench.rng
    name, frame = _timber_or_paint(bench, "white", "black", "red", "blue")
    width, depth, seat = rng.uniform(0.42, 0.52), rng.uniform(0.4, 0.5), rng.uniform(0.42, 0.5)
    back, leg = rng.uniform(0.42, 0.6), rng.uniform(0.035, 0.06)
    rear = (depth - leg) / 2
    posts = []
    for side in (-1, 1):
        x = side * (width - leg) / 2
        posts += [box(leg, leg, seat).moved(x, y, seat / 2) for y in (-rear, rear)]
        posts.append(box(leg, leg, back).moved(x, rear, seat + back / 2))
    bench.add(joined(*posts), frame, smooth=False, bevel=0.01, name="legs")
    if rng.random() < 0.4:
        _, colour = bench.colour("red", "blue", "grey", "brown", "green")
        cushion = box(0.95 * width, 0.95 * depth, 0.07).moved(z=seat + 0.03)
        bench.add(cushion, Material(colour, roughness=0.9, bump=0.3, scale=60), bevel=0.03, name="seat")
    else:
        board = box(width, depth, 0.04).moved(z=seat)
        bench.add(board, frame, smooth=False, bevel=0.01, name="seat")
    bench.add(_chair_back(bench, width, seat, back, leg).moved(y=rear), frame, smooth=False, bevel=0.01, name="back")
    return Subject(with_article(f"{name} chair"), seat + back, 0.42)


def _chair_back(bench: Workbench, width: float, seat: float, back: float, leg: float):
    """Slats across, bars upright, or one board; at y = 0."""
    rng = bench.rng
    style = rng.choice(["slats", "bars", "board"])
    if style == "slats":
        count = rng.randint(2, 4)
        return joined(*(box(width - leg, 0.025, 0.07).moved(z=seat + back * (0.3 + 0.22 * place)) for place in range(count)))
    if style == "bars":
        count = rng.randint(3, 6)
        bars = [box(0.025, 0.025, back).moved((place + 1) / (count + 1) * width - width / 2, 0, seat + back / 2) for place in range(count)]
        return joined(box(width, leg, 0.07).moved(z=seat + back - 0.03), *bars)
    return box(width, 0.03, 0.6 * back).moved(z=seat + 0.65 * back)


def table(bench: Workbench) -> Subject:
    """A round or square top on four legs or on one column."""
    rng = bench.rng
    name, material = _timber_or_paint(bench, "white", "black", "grey", "green")
    height, reach = rng.uniform(0.55, 0.7), rng.uniform(0.4, 0.52)
    is_round = rng.random() < 0.45
    if is_round:
        bench.add(cylinder(reach, 0.05, 56).moved(z=height - 0.05), material, smooth=False, name="top")
    else:
        top = box(2 * reach, rng.uniform(1.1, 1.8) * reach, 0.05).moved(z=height - 0.025)
        bench.add(top, material, smooth=False, bevel=0.01, name="top")
    if is_round and rng.random() < 0.6:
        foot = [(0.28, 0), (0.27, 0.03), (0.06, 0.07), (0.045, 0.3), (0.06, height - 0.05)]
        bench.add(lathe([(0.001, 0), *foot]), material, name="foot")
    else:
        thick, inset = rng.uniform(0.03, 0.06), (0.62 if is_round else 0.85) * reach
        depth = 0.62 * reach if is_round else 0.5 * reach
        legs = [box(thick, thick, height).moved(x * inset, y * depth, height / 2 - 0.03) for x in (-1, 1) for y in (-1, 1)]
        bench.add(joined(*legs), material, smooth=False, bevel=0.005, name="legs")
    shape = "round " if is_round else ""
    return Subject(with_article(f"{shape}{name} table" if shape else f"{name} table"), height, 0.6)


def bed(bench: Workbench) -> Subject:
    """A frame with a headboard, a mattress, a blanket and pillows."""
    rng = bench.rng
    frame = bench.wood() if rng.random() < 0.7 else bench.painted(COLOURS["white"])
    name, colour = bench.colour(*FABRICS)
    width, length = rng.uniform(0.6, 0.85), 1.1
    head = box(width + 0.06, 0.05, rng.uniform(0.45, 0.65))
    bench.add(head.moved(y=length / 2, z=0.3), frame, smooth=False, bevel=0.01, name="headboard")
    bench.add(box(width + 0.04, length, 0.12).moved(z=0.16), frame, smooth=False, bevel=0.01, name="frame")
    legs = [box(0.06, 0.06, 0.16).moved(x * width / 2, y * 0.5, 0.08) for x in (-1, 1) for y in (-1, 1)]
    bench.add(joined(*legs), frame, smooth=False, name="legs")
    sheet = Material((0.8, 0.8, 0.78), roughness=0.9, bump=0.2, scale=20)
    bench.add(box(width, length - 0.06, 0.14).moved(z=0.28), sheet, bevel=0.04, name="mattress")
    cloth = bench.natural(colour, 0.95, 0.4, 14)
    bench.add(box(width + 0.04, 0.68 * length, 0.15).moved(y=-0.16, z=0.29), cloth, bevel=0.04, name="blanket")
    for side in (-1, 1):
        pillow = ball(1).scaled(0.2 * width, 0.12, 0.06).moved(side * 0.25 * width, 0.4, 0.39)
        bench.add(pillow, sheet, name="pillows")
    return Subject(with_article(f"{name} bed"), 0.6, 0.72)


def lamp(bench: Workbench) -> Subject:
    """A table lamp with a glowing shade."""
    rng = bench.rng
    name, colour = bench.colour("white", "red", "blue", "green", "yellow", "beige", "pink")
    foot = bench.metal(rng.choice(["gold", "silver", "copper"]))
    if rng.random() < 0.5:
        foot = bench.wood()
    belly = rng.uniform(0.05, 0.14)
    profile = [(0.001, 0), (0.2, 0), (0.2, 0.03), (0.05, 0.06), (belly, 0.22), (0.03, 0.42)]
    bench.add(lathe(profile), foot, name="foot")
    bench.add(tube([(0, 0, 0.4), (0, 0, 0.7)], 0.018), foot, name="foot")
    low, high = rng.uniform(0.27, 0.34), rng.uniform(0.14, 0.26)
    shade = lathe([(low, 0.52), (high, 0.92), (high - 0.01, 0.92), (low - 0.01, 0.52)], 48)
    bench.add(shade, Material(colour, roughness=0.9, glow=rng.choice([0.0, 0.6])), name="shade")
    bench.add(ball(0.06).moved(z=0.68), Material((1.0, 0.8, 0.5), glow=8.0))
    return Subject(with_article(f"{name} table lamp"), 0.95, 0.36)


KINDS = (chair, table, bed, lamp)
