"""The servers of `loopback_servers` as fixtures."""

from loopback_servers import real_server, tiny_served_model

__all__ = ["real_server", "tiny_served_model"]
