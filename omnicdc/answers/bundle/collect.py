"""Collects the parts of a bundle. A part that fails is named with its reason; the others are collected."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from omnicdc.answers import settings
from omnicdc.answers.bundle import database, files, host, secrets
from omnicdc.answers.bundle.privacy import Privacy
from omnicdc.answers.bundle.report import Bundle, Unavailable, as_text, readme
from omnicdc.errors import OmnicdcError
from omnicdc.filesystem.atomic import no_observer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from omnicdc.config.settings import Config


def collect(
    config: Config | str,
    environ: Mapping[str, str],
    more: Mapping[str, Callable[[], str]],
    *,
    journal_lines: int,
    now: datetime,
    observe: Callable[[str], None] = no_observer,
) -> Bundle:
    """Return the bundle. `config` is a text if the configuration has a fault; then the text says which.

    `more` are collectors of the caller. `observe` is called with the name of each part before it is
    collected.
    Raises nothing for a part that cannot be had.
    """
    known = None if isinstance(config, str) else config
    names = secrets.project_names(known)
    privacy = Privacy(secrets.secrets(known, environ), names)
    wanted: dict[str, Callable[[], str]] = {"config.json": lambda: _config(config, environ), **more}
    if known is not None:
        wanted |= {**database.collectors(known), **files.collectors(known)}
    wanted |= host.collectors(journal_lines)
    bundle = Bundle()
    for name, read in wanted.items():
        observe(name)
        try:
            bundle.parts[name] = _clean(privacy, name, read())
        except OSError as exc:
            bundle.missing[name] = privacy.clean(
                f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc)
            )
        except (OmnicdcError, Unavailable, ValueError, KeyError) as exc:
            bundle.missing[name] = privacy.clean(str(exc) or type(exc).__name__)
    if isinstance(config, str):
        bundle.missing["status.json and all that needs a configuration"] = privacy.clean(config)
    at = f"{now:%Y-%m-%dT%H:%M:%SZ}"
    text = readme(bundle, host=os.uname().nodename, at=at, known_names=len(names))
    bundle.parts = {"README.txt": text, **bundle.parts}
    return bundle


def _config(config: Config | str, environ: Mapping[str, str]) -> str:
    if isinstance(config, str):
        return as_text({"fault": config, "variables": settings.variables(environ)})
    return as_text(without_arguments(settings.as_dict(config, environ)))


def without_arguments(shown: dict[str, Any]) -> dict[str, Any]:
    """Return the settings without the arguments of the command after publications: they can be secret."""
    hook = shown["settings"]["on_publish"]
    hook["value"] = [*hook["value"][:1], *("***" for _ in hook["value"][1:])]
    if "OMNICDC_ON_PUBLISH" in shown["variables"]:
        shown["variables"]["OMNICDC_ON_PUBLISH"] = "***"
    return shown


def _clean(privacy: Privacy, name: str, text: str) -> str:
    """Return a part without what is private. JSON is cleaned value by value, so that it stays JSON."""
    if not name.endswith(".json"):
        return privacy.clean(text)
    return as_text(privacy.clean_value(json.loads(text)))
