"""The library as an installed package: what the wheel holds, and what a project that installs it can do.

The wheel is installed into an environment of its own that sees the declared dependencies, and neither the repository
nor anything else that this environment has. Nothing is downloaded.
"""

import ast
import importlib.util
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image, ImageDraw
from uv import find_uv_bin

import capsnet

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
NETWORK = ROOT / "published" / "mnist-deconv_bn.safetensors"
PACKAGES = {"PIL": "pillow"}  # where the name of an import is not that of its package
# Imported inside functions alone: torch brings triton where there is one, the extra `onnx` brings the other.
LATE = {"triton", "onnxruntime"}

PREDICT = """
import sys
import torch
from PIL import Image
import capsnet
from capsnet.data.picture import WRITINGS, digit

network = capsnet.load(sys.argv[1]).eval()
for path in sys.argv[2:]:
    with Image.open(path) as picture:
        pixels = digit(picture, WRITINGS["mnist"], 28)
    with torch.no_grad():
        print(network(torch.from_numpy(pixels)[None] / 255).lengths.argmax(1).item())
"""

# An error that mypy does not find makes its `type: ignore` an error.
TYPED = """
import torch
import capsnet
from capsnet import CapsNet, ModelConfig, load, squash
from capsnet import NoSuchName  # type: ignore[attr-defined]

def side(network: CapsNet) -> int:
    return network.config.image_size

def capsules(config: ModelConfig) -> int:
    return config.num_primary

pixels: int = side(load("network.safetensors"))
lengths: torch.Tensor = squash(torch.ones(2, 3, 4))
squash("text")  # type: ignore[arg-type]
side(capsules)  # type: ignore[arg-type]
"""


def run(*command: str | Path, cwd: Path) -> str:
    result = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def required(*requirements: str) -> list[Distribution]:
    """The installed packages that some requirements ask for, and those that these ask for in turn."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found[name] = distribution(name)
        for needed in map(Requirement, found[name].requires or []):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(needed, each) for each in ("", *needed.extras)]
    return [*found.values()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and links to its declared dependencies."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    interpreter = folder / "bin" / "python"
    site = Path(run(interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    for package in required(*PROJECT["dependencies"]):
        for name in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
            original = Path(str(package.locate_file(name)))
            if name.endswith(".dist-info"):  # uv does not see it behind a link
                shutil.copytree(original, site / name)
            elif not name.endswith(".pth") and not (site / name).exists():
                (site / name).symlink_to(original)
    run(find_uv_bin(), "pip", "install", "--offline", "--no-cache", "--python", interpreter, wheel, cwd=folder)
    return interpreter


def test_the_library_declares_what_it_imports() -> None:
    imported = set()
    for path in (ROOT / "capsnet").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    declared = {Requirement(text).name for text in PROJECT["dependencies"]}
    foreign = imported - set(sys.stdlib_module_names) - {"capsnet"} - LATE
    assert {PACKAGES.get(name, name) for name in foreign} == declared


def test_every_locked_version_is_one_that_the_project_allows() -> None:
    """An extra or a dependency that was added without `make lock` is missing in a new environment."""
    locked = [
        Requirement(line.removesuffix("\\"))
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if line[:1].isalnum()
    ]
    versions: dict[str, list[str]] = {}
    for pinned in locked:
        (specifier,) = pinned.specifier
        versions.setdefault(canonicalize_name(pinned.name), []).append(specifier.version)
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values(), SETTINGS["dependency-groups"]["dev"]]
    for text in (text for group in groups for text in group):
        wanted = Requirement(text)
        found = versions.get(canonicalize_name(wanted.name), [])
        assert found, f"{text}: not in requirements.lock"
        assert all(wanted.specifier.contains(version) for version in found), f"{text}: {found} in requirements.lock"


def test_the_names_of_the_library_complete() -> None:
    assert set(capsnet.__all__) <= set(dir(capsnet))
    assert all(hasattr(capsnet, name) for name in capsnet.__all__)


@pytest.mark.slow
def test_the_wheel_holds_the_library_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    source = {str(path.relative_to(ROOT)) for path in (ROOT / "capsnet").rglob("*.py")}
    assert package == source | {"capsnet/py.typed"}
    assert any(name.endswith("/licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_installed_library_needs_its_declared_dependencies_alone(python: Path, tmp_path: Path) -> None:
    """Each module is imported, outside the repository, where no other package can be found."""
    paths = sorted((ROOT / "capsnet").rglob("*.py"))
    if importlib.util.find_spec("triton") is None:
        paths = [path for path in paths if "import triton" not in path.read_text()]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    script = f"import importlib; [importlib.import_module(name) for name in {modules}]"
    run(python, "-I", "-W", "error", "-c", script, cwd=tmp_path)
    shown = run(python, "-I", "-c", "import capsnet; print(*dir(capsnet)); print(capsnet.__file__)", cwd=tmp_path)
    names, file = shown.splitlines()
    assert set(capsnet.__all__) <= set(names.split())
    assert Path(file).is_relative_to(python.parents[1])
    found = run(python, "-I", "-c", "import importlib.util as u; print(u.find_spec('pipeline'))", cwd=tmp_path)
    assert found == "None\n"


@pytest.mark.slow
def test_a_source_that_needs_another_package_says_how_to_install_it(python: Path, tmp_path: Path) -> None:
    script = "from capsnet.sources.digits import servers; servers()"
    result = subprocess.run([python, "-I", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    expected = "digits: scikit-learn holds them and is not installed; pip install '.[pipeline]' does that"
    assert result.stderr.splitlines()[-1] == f"FileNotFoundError: {expected}"


@pytest.mark.slow
def test_the_installed_library_recognises_digits(python: Path, tmp_path: Path) -> None:
    lines = {
        "0": [(100, 30), (140, 60), (140, 140), (100, 170), (60, 140), (60, 60), (100, 30)],
        "1": [(100, 30), (100, 170)],
        "7": [(50, 40), (150, 40), (90, 170)],
    }
    for name, line in lines.items():
        sheet = Image.new("L", (200, 200), "white")
        ImageDraw.Draw(sheet).line(line, fill="black", width=18, joint="curve")
        sheet.save(tmp_path / f"{name}.png")
    pictures = [tmp_path / f"{name}.png" for name in lines]
    assert run(python, "-I", "-c", PREDICT, NETWORK, *pictures, cwd=tmp_path).split() == list(lines)


@pytest.mark.slow
def test_a_type_checker_sees_the_types_of_the_installed_library(python: Path, tmp_path: Path) -> None:
    script = tmp_path / "user.py"
    script.write_text(TYPED + "".join(f"reveal_type(capsnet.{name})\n" for name in capsnet.__all__))
    checker = [sys.executable, "-I", "-m", "mypy", "--strict", "--config-file=", "--cache-dir", tmp_path / "cache"]
    shown = run(*checker, "--python-executable", python, script, cwd=tmp_path)
    revealed = [line for line in shown.splitlines() if "Revealed type is" in line]
    assert len(revealed) == len(capsnet.__all__)
    assert not [line for line in revealed if line.endswith('"Any"')]
