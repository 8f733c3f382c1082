"""Build the page that needs no installation: site/, files that any web server serves.

    python -m pipeline.apps.site
    python -m http.server --directory site --bind 127.0.0.1

It shows the best published network of MNIST of each kind of routing, computed in the browser. The test images in data/
are its examples, and name its sliders.
"""

import os
from collections.abc import Sequence

from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.device import configure_torch
from pipeline.runtime.prepared import read_prepared


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser(__doc__).parse_args(argv)
    from pipeline.apps.live_page.published_networks import DATASET, best_of_each_kind, prepare
    from pipeline.apps.live_page.writing import SITE, examples, site_files, write_site

    hardware = configure_torch("cpu", os.cpu_count() or 1)
    test = read_prepared(DATASET, "test", hardware.device)
    networks = [prepare(each, test.images, test.labels) for each in best_of_each_kind()]
    files = site_files(networks, examples(test.images, test.labels, test.manifest.classes))
    write_site(files)
    for each in networks:
        compared = each.facts["compared"]
        print(
            f"{each.facts['name']}: {each.facts['bytes']:,} bytes; of {compared['images']:,} test images it recognises "
            f"{compared['after']:,}, and {compared['before']:,} before its weights were rounded"
        )
    print(f"{SITE}/: {len(files)} files, {sum(map(len, files.values())):,} bytes")
    print(f"to look at it: python -m http.server --directory {SITE} --bind 127.0.0.1")


if __name__ == "__main__":
    run_stage(main)
