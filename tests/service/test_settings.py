"""Settings by options, environment and file."""

from pathlib import Path

import pytest

from service.errors import SettingsError
from service.settings import Settings, load_settings

HASH = "0" * 64


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("LOC2VEC_"):
            monkeypatch.delenv(name)


def test_options_win_over_the_environment_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "service.toml"
    file.write_text(f'store = "file.gpkg"\nport = 1\nqueue_places = 7\napi_keys = ["{HASH}"]\n')
    monkeypatch.setenv("LOC2VEC_SETTINGS", str(file))
    monkeypatch.setenv("LOC2VEC_PORT", "2")
    monkeypatch.setenv("LOC2VEC_STORE", "environment.gpkg")
    monkeypatch.setenv("LOC2VEC_CORS_ORIGINS", "https://a.example, https://b.example")
    settings = load_settings({"store": "option.gpkg", "port": None, "index": None})
    assert (settings.store.location, settings.port, settings.queue_places, settings.api_keys) == (
        "option.gpkg",
        2,
        7,
        (HASH,),
    )
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert load_settings({}).store.location == "environment.gpkg"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LOC2VEC_PORT", "http", "port"),
        ("LOC2VEC_WORKERS", "0", "workers"),
        ("LOC2VEC_TIMEOUT_S", "-1", "timeout_s"),
        ("LOC2VEC_API_KEYS", "secret", "SHA-256"),
        ("LOC2VEC_RATE_PER_KEY", "often", "rate_per_key"),
        ("LOC2VEC_LOG_FORMAT", "xml", "log_format"),
        ("LOC2VEC_PROT", "1", "LOC2VEC_PROT: no such setting"),
        ("LOC2VEC_SETTINGS", "nowhere.toml", "nowhere.toml is not a file"),
    ],
)
def test_what_makes_no_sense_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings({"store": "s.gpkg"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["stoer = 's.gpkg'", "store = ", "[serve]\nport = 1"])
def test_a_file_with_a_fault_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "service.toml"
    file.write_text(text)
    monkeypatch.setenv("LOC2VEC_SETTINGS", str(file))
    with pytest.raises(SettingsError):
        load_settings({"store": "s.gpkg"})


def test_a_store_is_needed() -> None:
    with pytest.raises(
        SettingsError, match="no store is given: write --store or set LOC2VEC_STORE"
    ):
        load_settings({})


@pytest.mark.parametrize("service", ["LOC2VEC", "LOC2VEC_API"])
def test_what_kubernetes_sets_beside_a_service_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, service: str
) -> None:
    url = "tcp://10.0.0.1:8000"
    for name, value in {
        "SERVICE_HOST": "10.0.0.1", "SERVICE_PORT": "8000", "SERVICE_PORT_HTTP": "8000",
        "PORT": url, "PORT_8000_TCP": url, "PORT_8000_TCP_ADDR": "10.0.0.1",
        "PORT_8000_TCP_PORT": "8000", "PORT_8000_TCP_PROTO": "tcp",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"{service}_{name}", value)
    file = tmp_path / "service.toml"
    file.write_text("port = 81")
    monkeypatch.setenv("LOC2VEC_SETTINGS", str(file))
    assert load_settings({"store": "s.gpkg"}).port == 81
    monkeypatch.setenv("LOC2VEC_PORT", "82")
    assert load_settings({"store": "s.gpkg"}).port == 82


def test_every_setting_says_what_it_is_for_and_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "service.md").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        assert field.description
        assert f"| `LOC2VEC_{name.upper()}` |" in text, name
        assert field.description.replace("|", "\\|") in text, name
