"""Who has a port: the second question of everybody who can't have it."""


def holder_of(port: int) -> str | None:
    """Who listens on `port` of this machine, as "name, pid 12"; None when we may not know."""
    import psutil

    try:
        for connection in psutil.net_connections(kind="tcp4"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()}, pid {connection.pid}"
    except (psutil.Error, OSError):
        return None
    return None
