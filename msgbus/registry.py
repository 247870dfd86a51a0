"""From a URL to a broker: adapters are found by their entry points, ours and anybody's the same way."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final, cast

from msgbus.adapter.url import BrokerURL
from msgbus.errors import AdapterNotFound

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from msgbus.adapter import Adapter
    from msgbus.broker import Broker

__all__ = ["adapter_type", "connect"]

ENTRY_POINTS: Final = "msgbus.adapters"


def connect(url: str | None = None, *, group: str | None = None, **settings: Any) -> Broker:
    """The broker behind ``url``; without one, behind MSGBUS_URL.

    No I/O yet: ``async with`` the broker, or ``run()`` it. ``group`` is what consume() uses where none is given, and
    ``settings`` are what the URL's parameters are: ``deadline=``, ``grace=``, ``ca=``, and the adapter's own. Raises
    ConfigurationError for whatever is wrong with them, AdapterNotFound for an unknown scheme or a missing client
    library.
    """
    from msgbus.broker import Broker
    from msgbus.settings import configured_url, load

    parsed = BrokerURL.parse(configured_url() if url is None else url)
    adapter = adapter_type(parsed.scheme)
    arguments = settings if group is None else {**settings, "group": group}
    core, options = load(parsed.scheme, adapter.Options, parsed.params, arguments)
    return Broker(adapter(parsed, options), group=core.group, deadline=core.deadline, grace=core.grace)


def adapter_type(scheme: str) -> type[Adapter]:
    """The adapter for a URL scheme.

    Raises AdapterNotFound, naming the scheme that may have been meant, or the extra that is not installed.
    """
    from importlib.metadata import entry_points  # a tenth of what `import msgbus` may take

    found = entry_points(group=ENTRY_POINTS)
    if scheme not in found.names:
        close = difflib.get_close_matches(scheme, found.names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(found.names))}"
        raise AdapterNotFound(f"no adapter for {scheme}://; {hint}")
    return _load(found[scheme])


def _load(entry: EntryPoint) -> type[Adapter]:
    try:
        return cast("type[Adapter]", entry.load())
    except ModuleNotFoundError as error:
        extra = entry.module.removeprefix("msgbus_")
        raise AdapterNotFound(
            f"{entry.name}:// needs the package {error.name!r}, which is not installed: pip install 'msgbus[{extra}]'"
        ) from error
