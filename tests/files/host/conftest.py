"""Model folders of a test's own, with nothing in them."""

import folder_paths
import pytest
from same_subject.nodes.concepts.host import files as concept_files
from same_subject.nodes.files.host import listing
from same_subject.nodes.identity.host import face_analysis
from same_subject.nodes.identity.host import files as identity_files
from same_subject.tests.server import graphs

import nodes as host_nodes


@pytest.fixture(scope="session")
def classes():
    return graphs.node_classes()


@pytest.fixture
def models(tmp_path, monkeypatch, classes):
    """The folder `models`; the host knows our nodes, and looks for models nowhere else."""
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path / "models"))
    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path / "input"))
    (tmp_path / "input").mkdir()
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    for name in (concept_files.DETECTORS, "groundingdino", concept_files.SEGMENTERS, identity_files.FOLDER, face_analysis.FOLDER):
        folder_paths.folder_names_and_paths.pop(name, None)
    for name in ("checkpoints", "controlnet", "diffusion_models"):
        folder_paths.folder_names_and_paths[name] = ([str(tmp_path / "models" / name)], folder_paths.supported_pt_extensions)
    for module in (concept_files, identity_files, face_analysis):
        module.register()
    for place in {path for name in ("grounding-dino", "sams", "instantid", "checkpoints", "controlnet") for path in paths(name)}:
        place.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(host_nodes, "NODE_CLASS_MAPPINGS", classes)
    assert listing.host_nodes is host_nodes
    return tmp_path / "models"


def paths(name):
    from pathlib import Path

    return map(Path, folder_paths.get_folder_paths(name))
