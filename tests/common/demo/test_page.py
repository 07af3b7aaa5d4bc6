"""The page through its client, and in Chromium."""

import numpy as np
import pytest
from PIL import Image

from common.demo.session import NOT_GIVEN
from tests.common.dashboard.conftest import browser  # noqa: F401

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def address(sessions):
    """The page of all modalities, on a free port."""
    pytest.importorskip("gradio")
    from common.demo.page import launch, page

    blocks = page(list(sessions.values()))
    yield launch(blocks, None, wait=False)
    blocks.close()


@pytest.fixture(scope="module")
def client(address, tmp_path_factory):
    from gradio_client import Client

    return Client(address, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


def test_every_modality_has_its_endpoints(client):
    names = client.view_api(return_format="dict")["named_endpoints"]
    assert set(names) == {
        "/pictures_generate", "/pictures_transfer", "/text_generate", "/text_transfer", "/audio_generate",
        "/audio_transfer", "/table_generate", "/table_impute",
    }  # fmt: skip


def test_what_the_client_receives_is_what_the_session_makes(client, sessions):
    shown, _ = client.predict("b", 20, 5, 1.0, 1.0, 3, *[0.0] * 6, api_name="/pictures_generate")
    (file,) = sessions["pictures"].generate({"kind": "b", "age": 20}, 5, seed=3)
    path = shown if isinstance(shown, str) else shown["path"]
    assert np.array_equal(np.asarray(Image.open(path).convert("L")), np.asarray(Image.open(file).convert("L")))
    text, _ = client.predict("old", 2, 1.0, 1.0, 0, *[0.0] * 6, api_name="/text_generate")
    (file,) = sessions["text"].generate({"style": "old"}, 2)
    assert text == file.read_text()


def test_a_mistake_reaches_the_client_in_one_line(client):
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match="give an example first"):
        client.predict("", 1.0, NOT_GIVEN, "old", api_name="/text_transfer")


def test_an_upload_beyond_the_limit_is_refused(client, tmp_path):
    from gradio_client import handle_file

    (tmp_path / "large.csv").write_bytes(b"a" * (11 << 20))
    with pytest.raises(ValueError, match="exceeds the maximum file size of 10485760 bytes"):
        client.predict(handle_file(tmp_path / "large.csv"), api_name="/table_impute")


def test_only_this_machine_can_open_it(address):
    assert address.startswith("http://127.0.0.1:")


def test_in_the_browser_a_picture_appears(browser, address):  # noqa: F811
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(address)
    wait = WebDriverWait(browser, 60)
    wait.until(lambda b: b.find_elements(By.XPATH, "//button[normalize-space()='Generate']"))
    assert browser.find_elements(By.CSS_SELECTOR, ".prose h1")
    button = next(
        b for b in browser.find_elements(By.XPATH, "//button[normalize-space()='Generate']") if b.is_displayed()
    )
    button.click()
    loaded = "return [...document.images].some(i => i.src.includes('.png') && i.naturalWidth > 10)"
    wait.until(lambda b: b.execute_script(loaded))
