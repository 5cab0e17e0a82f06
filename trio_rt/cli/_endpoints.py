"""`--endpoint` as an address to connect to."""

from __future__ import annotations

import os
from collections.abc import Mapping

from sansio_rt import ConfigurationError, Endpoint

from ._problems import BadUse

__all__ = ["EMULATOR", "find_endpoint"]

EMULATOR = "emulator"
_SCHEMES = ("ws://", "wss://", "http://", "https://")


def find_endpoint(
    where: str,
    *,
    model: str | None,
    api_key: str | None,
    env: Mapping[str, str] = os.environ,
) -> Endpoint:
    """The endpoint for a value of `--endpoint` other than `emulator`.

    Args:
        where: `openai`, `azure` or a URL.
        model: The model, or the deployment with `azure`.
        api_key: The key; None takes that of the environment, for `openai` and `azure` alone: any
            other server is not to be sent a key that was meant for those.
        env: Environment variables.

    Raises:
        BadUse: It is none of these, or a key or name is missing.
    """
    api_key = api_key or None
    try:
        if where == "openai":
            _require_key(api_key or env.get("OPENAI_API_KEY"), "OPENAI_API_KEY")
            return Endpoint.openai(model, api_key=api_key, env=env)
        if where == "azure":
            return _azure(model, api_key, env)
        if where.lower().startswith(_SCHEMES):
            return Endpoint.url(where, model=model, api_key=api_key)
    except ConfigurationError as error:
        raise BadUse(f"--endpoint: {error}") from error
    # What was given is not repeated here nor above: a URL may have a key in it.
    raise BadUse("--endpoint: give emulator, openai, azure, or a URL with ws:// or wss://")


def _azure(model: str | None, api_key: str | None, env: Mapping[str, str]) -> Endpoint:
    if not env.get("AZURE_OPENAI_ENDPOINT"):
        raise BadUse(
            "no Azure resource: set AZURE_OPENAI_ENDPOINT in the environment "
            "(https://NAME.openai.azure.com)"
        )
    key = api_key or env.get("AZURE_OPENAI_API_KEY") or env.get("AZURE_OPENAI_AD_TOKEN")
    _require_key(key, "AZURE_OPENAI_API_KEY (or AZURE_OPENAI_AD_TOKEN)")
    if not model:
        raise BadUse("no deployment: pass its name in Azure with --model")
    return Endpoint.azure(model, api_key=api_key, env=env)


def _require_key(key: str | None, variable: str) -> None:
    if not key:
        raise BadUse(f"no API key: pass --api-key KEY, or set {variable} in the environment")
