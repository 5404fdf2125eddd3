"""`ddflows personas`: lists and imports the managed datasets of people."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import get_args

import click


@click.group()
def personas() -> None:
    """List and import datasets of people for the `person` sampler.

    The datasets are Parquet files, one for each locale. They are stored in the folder that the
    variable DATA_DESIGNER_MANAGED_ASSETS_PATH names; default: managed-assets in the folder
    DATA_DESIGNER_HOME.
    """


@personas.command("list")
def list_() -> None:
    """List the locales, each with its dataset on this machine."""
    import pyarrow.parquet as pq

    for locale in _list_locales():
        path = _locate(locale)
        state = "missing"
        if path.is_file():
            try:
                rows = pq.read_metadata(path).num_rows  # pyright: ignore
                state = f"{rows:,} rows in {path}"
            except (OSError, ValueError) as error:
                state = f"cannot be read: {path}: {error}"
        click.echo(f"{locale:<12}{state}")


@personas.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--locale",
    help="Locale of the people; default: the name of FILE, such as en_US for en_US.parquet.",
)
@click.option("--replace", is_flag=True, help="Replace existing datasets of the same locales.")
def import_(files: tuple[str, ...], locale: str | None, replace: bool) -> None:
    """Copy Parquet files of people to the folder that the sampler reads.

    Checks the locale and the columns of each file before it copies any of them.
    """
    if locale is not None and len(files) > 1:
        raise click.UsageError("--locale is for a single FILE; name the files after their locales")
    targets = [(Path(file), _choose_locale(Path(file), locale)) for file in files]
    for _, chosen in targets:
        if _locate(chosen).exists() and not replace:
            raise click.ClickException(
                f"there is a dataset for {chosen!r} already: {_locate(chosen)}; use --replace"
            )
    for path, chosen in targets:
        _check(path, chosen)
    for path, chosen in targets:
        target = _locate(chosen)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.with_name(f".{target.name}.partial")
        try:
            shutil.copyfile(path, staged)
            staged.replace(target)
        finally:
            staged.unlink(missing_ok=True)
        click.echo(f"{chosen}: imported to {target}")


def _choose_locale(path: Path, locale: str | None) -> str:
    chosen, known = locale or path.stem, _list_locales()
    if chosen not in known:
        where = "--locale" if locale else f"the name of {str(path)!r}"
        raise click.UsageError(
            f"{where} is not a known locale; use --locale with one of {', '.join(known)}"
        )
    return chosen


def _check(path: Path, locale: str) -> None:
    """Raise if the sampler could not use the file."""
    import dd_core.config as dd

    with tempfile.TemporaryDirectory() as folder:
        assets = Path(folder)
        (assets / "datasets").mkdir()
        place = assets / "datasets" / f"{locale}.parquet"
        place.symlink_to(path.absolute())
        sampler = dd.PersonSamplerParams(locale=locale).located(assets)  # pyright: ignore
        for problem in sampler.problems("", {}):
            message = problem.message.replace(str(place), str(path))
            raise click.ClickException(f"{str(path)!r} cannot be used: {message}")


def _list_locales() -> list[str]:
    import dd_core.config as dd

    return sorted(get_args(dd.PersonSamplerParams.model_fields["locale"].annotation))


def _locate(locale: str) -> Path:
    from dd_core.models.providers import get_managed_assets

    return get_managed_assets() / "datasets" / f"{locale}.parquet"
