"""List the dialects (ways in which models say geometry), or try one out.

georefer dialects                                                        all of them, with an example and a ceiling
georefer dialects show qwen2.5-vl --image 800x600 --box 120,90,280,180   what is written, and what comes back
"""

from __future__ import annotations

import argparse

from georefer.errors import GeoreferError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sizes", default="10,20,50", metavar="PX,...", help="object sizes for the ceiling (default: 10,20,50)"
    )
    parser.add_argument("--markdown", action="store_true", help="the whole reference page instead of the list")
    show = parser.add_subparsers(dest="action", metavar="[show]").add_parser(
        "show", help="write shapes in one dialect and read them back"
    )
    show.add_argument("name", help="a dialect of the list")
    show.add_argument("--image", required=True, metavar="WxH", help="size of the scene in pixels, such as 800x600")
    show.add_argument("--label", default="ship", help="label of the shapes (default: ship)")
    for flag, form in (
        ("--box", "X1,Y1,X2,Y2"),
        ("--obb", "CX,CY,LENGTH,WIDTH,HEADING"),
        ("--polygon", "X1,Y1,X2,Y2,X3,Y3,..."),
        ("--mask", "X1,Y1,X2,Y2,X3,Y3,..."),
        ("--point", "X,Y"),
    ):
        show.add_argument(flag, action="append", default=[], metavar=form, help="in scene pixels; may be repeated")
    show.add_argument("--text", help="read this answer instead of writing one")


def run(options: argparse.Namespace) -> int:
    from georefer.dialects import DIALECTS
    from georefer.dialects.reference import markdown

    if options.action == "show":
        return _show(options)
    if options.markdown:
        print(markdown(DIALECTS.values()), end="")
        return 0
    try:
        sizes_px = _numbers(options.sizes)
        if not all(1 <= size <= 500 for size in sizes_px):
            raise ValueError(f"object sizes of 1 to 500 px fit the 1024 px image, found {options.sizes}")
    except ValueError as error:
        raise GeoreferError(str(error)) from error
    return _list(sizes_px)


def _list(sizes_px: list[float]) -> int:
    from georefer.dialects import DIALECTS
    from georefer.dialects.reference import ceilings_of, kinds_of, numbers_of, text_of_example

    print("mean IoU of a perfect model (share with IoU >= 0.5) for objects of so many pixels in a 1024 px image\n")
    print(f"{'dialect':<16}{'says':<9}{'numbers':<29}" + "".join(f"{f'{size:g} px':<13}" for size in sizes_px))
    for dialect in DIALECTS.values():
        for i, kind in enumerate(kinds_of(dialect)):
            name, numbers = dialect.name if i == 0 else "", numbers_of(dialect, kind)
            row = "".join(f"{cell:<13}" for cell in ceilings_of(dialect, kind, sizes_px, count=50))
            print(f"{name:<16}{kind:<9}{numbers:<29}{row}".rstrip())
            print(f"{'':<16}{_shortened(text_of_example(dialect, kind))}")
    return 0


def _show(options: argparse.Namespace) -> int:
    from georefer.dialects import DIALECTS
    from georefer.geometry import shape_iou

    if options.name not in DIALECTS:
        raise GeoreferError(f"there is no dialect '{options.name}'; known: {', '.join(DIALECTS)}")
    dialect = DIALECTS[options.name]
    try:
        frame = dialect.frame_for(_size(options.image))
        objects = _objects(options)
        text = options.text if options.text is not None else dialect.write(objects, frame)
    except ValueError as error:
        raise GeoreferError(str(error)) from error
    print(
        f"scene    {frame.scene_width} x {frame.scene_height} px, "
        f"shown at {frame.width} x {frame.height} ({frame.rule})"
    )
    print(f"text     {text}")
    reading = dialect.read(text, frame)
    if reading.says_none:
        print("read     nothing is there")
    back = reading.objects
    for o in back:
        print(f"read     {o.kind} {o.label!r} {_in_words(o)}")
    for r in reading.relations:
        print(f"read     {r.subject} {r.predicate} {r.object}")
    for p in reading.problems:
        print(f"problem  {p.kind} at {p.start}-{p.end}: {p.message}")
    if options.text is None and len(back) == len(objects) and set(objects.kinds_N) != {"point"}:
        iou_NM = shape_iou(objects.geometries_N, back.geometries_N, as_boxes=False)
        print(f"IoU      {', '.join(f'{best:.4f}' for best in iou_NM.max(axis=1))}")
    return 0


def _objects(options: argparse.Namespace):
    import shapely

    from georefer.geometry import OBB, Kind, Objects

    shapes: list[tuple[Kind, shapely.Geometry]] = [("hbb", shapely.box(*_numbers(v, 4))) for v in options.box]
    shapes += [("obb", OBB(*_numbers(v, 5)).to_polygon()) for v in options.obb]
    kind: Kind
    for kind, given in (("polygon", options.polygon), ("mask", options.mask)):
        for values in map(_numbers, given):
            if len(values) < 6 or len(values) % 2:
                raise ValueError(f"a {kind} needs an even count of numbers from 6, found {len(values)}")
            shapes.append((kind, shapely.Polygon(list(zip(values[::2], values[1::2], strict=True)))))
    shapes += [("point", shapely.Point(*_numbers(v, 2))) for v in options.point]
    return Objects.of([s for _, s in shapes], [options.label] * len(shapes), kind=[k for k, _ in shapes])


def _numbers(text: str, count: int | None = None) -> list[float]:
    import math

    try:
        values = [float(v) for v in text.split(",")]
        if not all(map(math.isfinite, values)):
            raise ValueError
    except ValueError:
        raise ValueError(f"'{text}' is not a list of numbers separated by commas") from None
    if count is not None and len(values) != count:
        raise ValueError(f"'{text}' has {len(values)} numbers, {count} expected")
    return values


def _size(text: str) -> tuple[int, int]:
    wide, _, high = text.lower().partition("x")
    if not (wide.isdecimal() and high.isdecimal() and int(wide) and int(high)):
        raise ValueError(f"'{text}' is not an image size; write it as 800x600")
    return int(wide), int(high)


def _in_words(o) -> str:
    import shapely

    from georefer.geometry import OBB

    if o.kind == "hbb":
        return "[{:.2f}, {:.2f}, {:.2f}, {:.2f}]".format(*o.geometry.bounds)
    if o.kind == "obb":
        b = OBB.from_polygon(o.geometry)
        return f"centre {b.cx:.2f}, {b.cy:.2f}, {b.length:.2f} x {b.width:.2f}, heading {b.heading_deg:.2f}°"
    if o.kind == "point":
        return f"{o.geometry.x:.2f}, {o.geometry.y:.2f}"
    return f"{len(shapely.get_coordinates(o.geometry))} points, area {o.geometry.area:.1f} px²"


def _shortened(text: str, width: int = 100) -> str:
    flat = text.replace("\n", "\\n").replace("\t", "\\t")
    return flat if len(flat) <= width else flat[: width - 3] + "..."
