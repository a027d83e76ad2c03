"""The commands `lab export` and `lab manifest`: what other tools read."""

from pathlib import Path
from typing import Annotated

import typer

from lab.commands import completion
from lab.commands.console import echo, fail, load_scenario

app = typer.Typer()


@app.command(epilog="Example: lab export slow-service --k6   Next: k6 run slow-service.js")
def export(
    name: Annotated[
        str,
        typer.Argument(help="name or file of a scenario", autocompletion=completion.scenarios),
    ],
    k6: Annotated[bool, typer.Option("--k6", help="as a script for k6")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="in half the time")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="write it into this file")
    ] = None,
) -> None:
    """Write a scenario's load for another tool, with what that tool counts differently."""
    from lab.scenarios.k6 import NotForK6, to_k6

    if not k6:
        fail(f"For which tool? Try: lab export {name} --k6", 2)
    scenario = load_scenario(name)
    try:
        script = to_k6(scenario.quick() if quick else scenario)
    except NotForK6 as error:
        fail(error, 2)
    if output is None:
        echo(script)
        return
    try:
        output.write_text(script, "utf-8")
    except OSError as error:
        fail(f"{output} can't be written: {error.strerror or error}.", 3)
    echo(f"{output} is written; its first lines say how to run it.")


@app.command(
    epilog="Example: lab manifest async-bus --compose > compose.yaml   Next: docker compose up, as "
    "the first lines of that file show it"
)
def manifest(
    arrangement: Annotated[str, typer.Argument(help="async-bus, sync-chain or request-reply")],
    compose: Annotated[bool, typer.Option("--compose", help="for docker compose")] = False,
    k8s: Annotated[bool, typer.Option("--k8s", help="for Kubernetes")] = False,
    image: Annotated[
        str, typer.Option(help="the image with the lab, made from its Dockerfile")
    ] = "sync-async-lab",
) -> None:
    """Print an arrangement for the engine of a cluster; that engine starts and supervises it."""
    import yaml

    from lab.cluster import manifest as manifests

    if arrangement not in manifests.MANIFESTS:
        fail(
            f"No manifest is known for {arrangement!r}; expected {', '.join(manifests.MANIFESTS)}.",
            2,
        )
    if not image.strip():
        fail("--image: expected the name of an image, such as sync-async-lab; saw none.", 2)
    if compose == k8s:
        fail(f"For which engine? Try: lab manifest {arrangement} --compose (or --k8s)", 2)
    document = (manifests.to_kubernetes if k8s else manifests.to_compose)(arrangement, image)
    names = [part.name for part in manifests.containers(arrangement)]
    text = yaml.safe_dump(document, sort_keys=False, width=100)
    echo(manifests.header(arrangement, k8s, names) + text)
