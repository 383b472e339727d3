"""Import every module of the installed package; those that need the extra `train`, or Triton, may say so."""

from __future__ import annotations

import importlib
import pkgutil

import latent_reenact
from latent_reenact.errors import MissingDependencyError

EXTRA = ("numba", "lightning_fabric", "webdataset", "tensorboard", "triton")


def main() -> None:
    names = [module.name for module in pkgutil.walk_packages(latent_reenact.__path__, "latent_reenact.")]
    waiting = []
    for name in names:
        try:
            importlib.import_module(name)
        except (MissingDependencyError, ModuleNotFoundError) as error:
            if not any(extra in str(error) for extra in EXTRA):
                raise
            waiting.append(name)
    print(f"imported {len(names) - len(waiting)} modules; {len(waiting)} need the extra train, or Triton")


if __name__ == "__main__":
    main()
