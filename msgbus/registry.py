"""Registry of adapters: finds the adapter of a URL by its entry point, and connects a broker to it.

Adapters of third parties are found in the same way as those of msgbus.
"""

from __future__ import annotations

import difflib
import logging
from typing import TYPE_CHECKING, Any, Final, cast

from msgbus.adapter.url import BrokerURL
from msgbus.errors import AdapterNotFound

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from msgbus.adapter import Adapter
    from msgbus.broker import Broker

__all__ = ["adapter_type", "connect"]

logger = logging.getLogger("msgbus")

ENTRY_POINTS: Final = "msgbus.adapters"


def connect(url: str | None = None, *, group: str | None = None, **settings: Any) -> Broker:
    """Return the broker for ``url``. No I/O: enter it with ``async with``, or ``run()`` it.

    Args:
        url: Where the server is; default: the setting MSGBUS_URL.
        group: Default group of ``consume()``.
        settings: The same as the URL's parameters: ``deadline=``, ``grace=``, ``ca=``, and the adapter's own.

    Returns:
        The broker.

    Raises:
        ConfigurationError: The URL or a setting is wrong, or a variable ``MSGBUS_…`` is nearly a setting.
        AdapterNotFound: No adapter has this URL scheme, or its client library is not installed.
    """
    from msgbus.broker import Broker
    from msgbus.settings import Settings, check_variables, configured_url, load

    parsed = BrokerURL.parse(configured_url() if url is None else url)
    adapter = adapter_type(parsed.scheme)
    arguments = settings if group is None else {**settings, "group": group}
    check_variables((*Settings.model_fields, *adapter.Options.model_fields), _all_options)
    core, options = load(parsed.scheme, adapter.Options, parsed.params, arguments)
    return Broker(adapter(parsed, options), group=core.group, deadline=core.deadline, grace=core.grace)


def adapter_type(scheme: str) -> type[Adapter]:
    """Return the adapter class for a URL scheme.

    Args:
        scheme: The part of the URL before ``://``.

    Raises:
        AdapterNotFound: No adapter has this scheme; the text suggests a similar one. Or its client library is not
            installed; the text names the extra.
    """
    from importlib.metadata import entry_points  # a tenth of what `import msgbus` may take

    found = entry_points(group=ENTRY_POINTS)
    if scheme not in found.names:
        close = difflib.get_close_matches(scheme, found.names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(found.names))}"
        raise AdapterNotFound(f"no adapter for {scheme}://; {hint}")
    return _load(found[scheme])


def _all_options() -> set[str]:
    """Return the names of the options of all adapters whose client library is installed."""
    from importlib.metadata import entry_points

    names: set[str] = set()
    for entry in {entry.value: entry for entry in entry_points(group=ENTRY_POINTS)}.values():
        try:
            names |= cast("type[Adapter]", entry.load()).Options.model_fields.keys()
        except Exception as error:  # noqa: BLE001 - an adapter that is not in use must not keep another from starting
            logger.debug("%s://: the adapter cannot be loaded: %s", entry.name, error)
    return names


def _load(entry: EntryPoint) -> type[Adapter]:
    try:
        return cast("type[Adapter]", entry.load())
    except ModuleNotFoundError as error:
        extra = entry.module.removeprefix("msgbus_")
        raise AdapterNotFound(
            f"{entry.name}:// needs the package {error.name!r}, which is not installed: pip install 'msgbus[{extra}]'"
        ) from error
