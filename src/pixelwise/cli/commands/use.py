"""Commands that use a model on pictures: `predict`, `heatmap`, `serve`."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pixelwise.cli.options import (
    CRFOption,
    EngineOption,
    FlipOption,
    FusionOption,
    JsonOption,
    ModelArgument,
    PrecisionOption,
    PredictionPrecision,
    ScalesOption,
    WindowOption,
    check_there,
    opened,
    views_from,
)
from pixelwise.cli.speaker import complain
from pixelwise.errors import BadOption, PixelwiseError


def predict(
    model: ModelArgument,
    inputs: Annotated[list[str], typer.Argument(help="Pictures, videos, folders or globs.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Where the results go.", show_default=False)],
    save: Annotated[
        str | None,
        typer.Option(
            help="Any of mask,overlay,confidence,entropy,uncertainty,polygons,coco,areas; mask,overlay if left out, of "
            "videos overlay.",
            metavar="KINDS",
        ),
    ] = None,
    with_: Annotated[
        list[Path] | None,
        typer.Option("--with", metavar="MODEL", help="Average with this model, too; may be given several times."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that exist.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Skip files whose results exist.")] = False,
    precision: PrecisionOption = PredictionPrecision.auto,
    engine: EngineOption = "torch",
    scales: ScalesOption = None,
    fusion: FusionOption = None,
    flip: FlipOption = False,
    window: WindowOption = None,
    crf: CRFOption = None,
    samples: Annotated[
        int | None, typer.Option(metavar="T", help="Samples of Monte-Carlo dropout, for uncertainty.")
    ] = None,
    tile: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="Side of the tiles of large pictures, in pixels. At 1024, which auto mostly is, a map of 64 channels "
            "takes 256 MiB, and a U-Net holds about four; at 512 a quarter.",
        ),
    ] = "auto",
    max_pixels: Annotated[
        int | None,
        typer.Option("--max-pixels", metavar="N", help="Refuse larger pictures; 178 956 970 if left out."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Segment pictures and videos with a model: palette PNGs and overlays, names kept."""
    from pixelwise.cli.show.predicted import print_predicted
    from pixelwise.cli.show.progress import segmenting_bar
    from pixelwise.cli.show.refinement import print_preset
    from pixelwise.flow.predicting.predict import find_pictures, predict_files

    console = Console(highlight=False)
    try:
        if tile != "auto" and not (tile.isdecimal() and int(tile)):
            raise BadOption(f"--tile is auto or a number of pixels, as 1024, got {tile!r}")
        if max_pixels is not None and max_pixels < 1:
            raise BadOption(f"--max-pixels is at least 1, got {max_pixels}")
        views = views_from(scales, fusion, flip, window)
        segmenter, *others = (opened(path, lambda: find_pictures(inputs, out)) for path in (model, *(with_ or ())))
        pictures = find_pictures(inputs, out)
        if not as_json:
            print_preset(console, segmenter, model, crf)
        with segmenting_bar(quiet=as_json) as progress:
            done = predict_files(
                segmenter,
                pictures,
                out,
                kinds=save,
                overwrite=overwrite,
                resume=resume,
                precision=precision.value,
                engine=engine,
                scales=views,
                crf=crf,
                samples=samples,
                tile=None if tile == "auto" else int(tile),
                max_pixels=max_pixels,
                others=others,
                progress=progress,
            )
    except PixelwiseError as error:
        if as_json:
            typer.echo(json.dumps({"error": str(error)}, ensure_ascii=False))
        raise
    except KeyboardInterrupt as error:
        typer.echo(f"interrupted; the results in {out}/ are whole, and --resume goes on from there", err=True)
        raise typer.Exit(130) from error
    if as_json:
        typer.echo(json.dumps(done.to_record(), ensure_ascii=False))
    else:
        print_predicted(console, done, out, crf=segmenter.refinement is not None and crf is not False)
    for fault in done.faults:
        complain(fault)
    if done.faults:
        raise typer.Exit(1)


def heatmap(
    classifier: ModelArgument,
    image: Annotated[Path, typer.Argument(help="A picture.", show_default=False)],
    name: Annotated[str, typer.Option("--class", metavar="NAME", help="Of which class.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="A .png or .jpg; PICTURE-CLASS.png here if left out.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace it if it exists.")] = False,
) -> None:
    """Draw where in a picture a class is likely: the picture, and the class's probability over it."""
    from pixelwise.cli.show.models import print_heatmap
    from pixelwise.flow.heatmap import draw_heatmap

    segmenter = opened(classifier, lambda: check_there(image))
    drawn = draw_heatmap(segmenter, image, name, out=out, overwrite=overwrite)
    print_heatmap(Console(highlight=False), drawn)


def serve(
    models: Annotated[
        list[Path] | None,
        typer.Argument(help="Model files, or names of `pixelwise list weights`; the demo model if left out."),
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 for other machines, too.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8000,
    token: Annotated[
        str | None, typer.Option(envvar="PIXELWISE_TOKEN", help="What clients must show.", show_envvar=True)
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Save no corrections.")] = False,
    corrections: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where corrected pictures go, for `pixelwise fit`.")
    ] = Path("corrections"),
    max_bytes: Annotated[int, typer.Option(help="Of a file.")] = 32 * 2**20,
    max_pixels: Annotated[int, typer.Option(help="Height × width of a picture.")] = 25_000_000,
    queue: Annotated[int, typer.Option(help="Pictures that may wait.")] = 32,
    timeout: Annotated[float, typer.Option(help="Seconds a picture may wait and take.")] = 60.0,
    threads: Annotated[int | None, typer.Option(help="To compute with; all cores if left out.")] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Pictures of one size at a time; 8 on a GPU and 1 without if left out.", show_default=False),
    ] = None,
) -> None:
    """Serve models: a web page and REST. Ctrl-C or SIGTERM finishes what is under way, and ends."""
    from pixelwise.server.settings import Settings, check_installed

    check_installed()
    settings = Settings(
        host=host,
        port=port,
        token=token or None,
        read_only=read_only,
        corrections=corrections,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        queue=queue,
        timeout=timeout,
        threads=threads,
        batch=batch,
    )
    from pixelwise.cli.show.serving import print_serving, request_log
    from pixelwise.server.app import create_app
    from pixelwise.server.models import open_models
    from pixelwise.server.running import serve as run_server

    console = Console(highlight=False)
    served = open_models(models or (), open_one=opened)
    request_log()
    run_server(create_app(served, settings), lambda url: print_serving(console, served, settings, url))
