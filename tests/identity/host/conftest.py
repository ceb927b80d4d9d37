"""Stand-ins that several files of this folder use."""

import pytest
from same_subject.tests.tiny import identities


@pytest.fixture(scope="module")
def unet():
    return identities.unet()


@pytest.fixture(scope="module")
def adapter():
    return identities.adapter()


@pytest.fixture(scope="module")
def control():
    return identities.control()
