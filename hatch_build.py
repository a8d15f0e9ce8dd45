"""What the package's metadata take from elsewhere: README as who has no copy reads it, and the project's addresses.

hatchling asks for them at each build. Both follow from the one constant in flash_course/addresses.py.
"""

import runpy
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Metadata(MetadataHookInterface):
    def update(self, metadata):
        root = Path(self.root)
        addresses = runpy.run_path(str(root / "flash_course" / "addresses.py"))
        readme = (root / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": addresses["read_elsewhere"](readme),
        }
        metadata["urls"] = addresses["project_addresses"]()
