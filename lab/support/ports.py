"""Finds the process that holds a port."""


def find_port_owner(port: int) -> str | None:
    """The process that holds `port` on this machine, as "name, pid 12"; None if unknown."""
    import psutil

    try:
        for connection in psutil.net_connections(kind="tcp4"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()}, pid {connection.pid}"
    except (psutil.Error, OSError):
        return None
    return None
