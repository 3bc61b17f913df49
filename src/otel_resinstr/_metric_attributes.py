# SPDX-License-Identifier: Apache-2.0
"""Attributes of the process that go onto each point of a metric, for back ends that drop the resource of metrics.

Azure Monitor's exporter is one: of a resource it hands on the names of the service and of the instance, and on App
Service all workers of an instance have the same ones. Without anything that tells them apart their series fall
together, and a worker that was forked begins with the difference to what its parent had counted.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from opentelemetry.metrics import get_meter_provider

from otel_resinstr.semconv import DEPLOYMENT_ENVIRONMENT, DEPLOYMENT_ENVIRONMENT_NAME, PROCESS_PID

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.util.types import AttributeValue

AUTO, AZURE, NONE = "auto", "azure", "none"

PRESETS: Mapping[str, tuple[str, ...]] = {
    AZURE: (PROCESS_PID, DEPLOYMENT_ENVIRONMENT_NAME),
    NONE: (),
}
"""What stands for several names."""

_SITE, _SLOT = "WEBSITE_SITE_NAME", "WEBSITE_SLOT_NAME"  # which App Service sets in each process


def chosen(names: Sequence[str], environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The attributes that *names* stand for, each once: presets are resolved, and `auto` by where the process runs.

    On App Service `auto` is `azure`, whatever the exporter is: the workers of an instance share the identity that
    App Service gives it with all of them.
    """
    found: dict[str, None] = {}
    for name in names:
        preset = (AZURE if environ.get(_SITE) else NONE) if name == AUTO else name
        found.update(dict.fromkeys(PRESETS.get(preset, (preset,))))
    return tuple(found)


class MetricAttributes:
    """The values of *names* in this process, now: nothing is kept, so that each fork and each provider has its own.

    They are those of the resource of *provider*, by default the global one, but for the process's id, which the
    system knows better; the slot is App Service's where the resource has none. What is not known is left out. One
    process has one value of each, so that no series is added. Cost: 1 µs.
    """

    def __init__(
        self,
        names: Sequence[str],
        provider: MeterProvider | None = None,
        environ: Mapping[str, str] = os.environ,
        pid: Callable[[], int] = os.getpid,
    ) -> None:
        self.names = tuple(names)
        self._provider = provider
        self._environ = environ
        self._pid = pid

    def __bool__(self) -> bool:
        """Whether there is anything to add."""
        return bool(self.names)

    def __call__(self) -> dict[str, AttributeValue]:
        """The attributes that are known."""
        resource = _resource(get_meter_provider() if self._provider is None else self._provider)
        found: dict[str, AttributeValue] = {}
        for name in self.names:
            value = self._pid() if name == PROCESS_PID else resource.get(name)
            if value is None and name == DEPLOYMENT_ENVIRONMENT_NAME:
                # The detector for App Service has the name that it had before, and may not be switched on.
                value = resource.get(DEPLOYMENT_ENVIRONMENT) or self._environ.get(_SLOT) or None
            if value is not None:
                found[name] = value
        return found


def _resource(provider: object) -> Mapping[str, AttributeValue]:
    # Private: the SDK's providers of spans and of log records have a public one, that of metrics has none.
    resource = getattr(getattr(provider, "_sdk_config", None), "resource", None)
    attributes = getattr(resource, "attributes", None)
    return attributes if isinstance(attributes, Mapping) else {}
