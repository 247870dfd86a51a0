"""Settings. Each comes from an argument of ``connect()``, else the URL, else ``MSGBUS_…``, else the file ``.env``."""

from __future__ import annotations

import difflib
import logging
import re
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field, SecretStr, ValidationError, create_model
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, SettingsConfigDict

from msgbus.adapter.address import group_name
from msgbus.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from msgbus.adapter.options import AdapterOptions

__all__ = ["Settings", "check_variables", "configured_url", "load"]

logger = logging.getLogger("msgbus")

PREFIX: Final = "MSGBUS_"
TEST_PREFIX: Final = "MSGBUS_TEST_"
"""What the variables of msgbus' own tests begin with; they are no settings."""
_SIMILARITY: Final = 0.8
"""How similar a variable is to the setting that it was meant for: GRUOP to GROUP 0.8, SERVICE_HOST to SERVICE 0.74."""
_INJECTED: Final = re.compile(r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_[0-9]+_[A-Z]+(_(PROTO|PORT|ADDR))?)?)")
"""Variables that Kubernetes sets for services named msgbus or msgbus-…; those of Docker's links look the same."""

_CONFIG = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)


class _Where(BaseSettings):
    model_config = _CONFIG

    url: SecretStr = SecretStr("")


class Settings(BaseSettings):
    """Settings of the core; those of an adapter are its ``Options``."""

    model_config = _CONFIG

    group: str = ""
    """Default group of ``consume()``."""
    deadline: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """Seconds after which every publish, create_queue and start has ended. Keep it well above 13 s on Kafka: a dead
    node stops all partitions for 8 to 13 s until the cluster drops it."""
    grace: Annotated[float, Field(ge=0, le=3600)] = 25.0
    """Seconds that running callbacks have to finish when the broker closes."""


def configured_url() -> str:
    """Return MSGBUS_URL, from the environment or the file ``.env``. Raise ConfigurationError if it is not set."""
    url = _Where().url.get_secret_value()
    if not url:
        raise ConfigurationError(
            "no broker is configured: pass a URL to connect() or set MSGBUS_URL, e.g. MSGBUS_URL=memory://"
        )
    return url


def check_variables(known: Iterable[str], others: Callable[[], Iterable[str]]) -> None:
    """Look for variables ``MSGBUS_…`` that are no setting, in the environment and the file ``.env``.

    A name that is nearly a setting's is taken for a mistake. Any other is a warning only, since orchestrators inject
    variables of this form (``MSGBUS_PORT``).

    Args:
        known: Names of the settings of the core and of the adapter in use.
        others: Returns the names of other adapters' settings; called only where a name is not in ``known``.

    Raises:
        ConfigurationError: A variable is nearly a setting; the text suggests the right name.
    """
    names = {"URL", *(name.upper() for name in known)}
    given = {*EnvSettingsSource(Settings).env_vars, *DotEnvSettingsSource(Settings).env_vars}
    found = sorted(name.upper() for name in given if name.upper().startswith(PREFIX))
    unknown = [name for name in found if name[len(PREFIX) :] not in names and not name.startswith(TEST_PREFIX)]
    if any(not _INJECTED.fullmatch(name[len(PREFIX) :]) for name in unknown):
        names |= {name.upper() for name in others()}
    for name in unknown:
        _check_variable(name, names)


def _check_variable(variable: str, names: Iterable[str]) -> None:
    name = variable.removeprefix(PREFIX)
    if name in names:
        return
    if not _INJECTED.fullmatch(name) and (close := difflib.get_close_matches(name, names, n=1, cutoff=_SIMILARITY)):
        raise ConfigurationError(f"unknown variable {variable}; did you mean {PREFIX}{close[0]}?")
    logger.warning("%s is no setting of msgbus: ignored", variable)


def load(
    scheme: str, options: type[AdapterOptions], params: Mapping[str, str], arguments: Mapping[str, Any]
) -> tuple[Settings, AdapterOptions]:
    """Load the core's settings and the adapter's options.

    Args:
        scheme: The URL scheme, for errors.
        options: The adapter's model of options.
        params: The URL's parameters.
        arguments: The keyword arguments of ``connect()``; they win over ``params``.

    Raises:
        ConfigurationError: A parameter is unknown (the text suggests a similar one), or a value does not fit. The text
            never repeats a value, which may be secret.
    """
    given = {**params, **arguments}
    known = (*Settings.model_fields, *options.model_fields)
    for name in given:
        if name not in known:
            raise ConfigurationError(_unknown(scheme, name, known))
    loaded = _read(scheme, options, given)
    core = Settings.model_construct(**{name: loaded[name] for name in Settings.model_fields})
    if core.group:
        group_name(core.group)
    return core, options.model_construct(**{name: loaded[name] for name in options.model_fields})


def _read(scheme: str, options: type[AdapterOptions], given: Mapping[str, Any]) -> dict[str, Any]:
    # One model inherits from both, so that each option has a variable: MSGBUS_VISIBILITY as well as ?visibility=. The
    # configuration of Settings is last and wins: it is the one that reads variables.
    everything = create_model("Everything", __base__=(options, Settings))
    try:
        return dict(everything(**given))
    except ValidationError as error:
        raise ConfigurationError(f"{scheme}: {_problems(error)}") from None  # the cause would repeat the value


def _unknown(scheme: str, name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"it knows {', '.join(sorted(known))}"
    return f"{scheme}: unknown parameter {name!r}; {hint}"


def _problems(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False))
