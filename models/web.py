"""One way into the web, for checkpoints and for pictures."""

import urllib.request


def web_opener():
    """An opener that knows http, https and their proxies; no redirect can lead anywhere else."""
    opener = urllib.request.OpenerDirector()  # plain: it knows no file:, ftp: or data:
    proxies = urllib.request.getproxies()
    web = {scheme: proxies[scheme] for scheme in ("http", "https") if scheme in proxies}
    for handler in (
        urllib.request.ProxyHandler(web),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
