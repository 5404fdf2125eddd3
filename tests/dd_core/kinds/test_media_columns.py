"""Images shown to models, images that models draw, and embeddings."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import httpx
import pytest

import dd_core.config as dd
from dd_core import DataDesigner, DataDesignerGenerationError, InvalidConfigError
from dd_core.models.wire.media import is_whole_image
from tests.scripted import Body, ScriptedModel, builder, chat_response, model


def png(shade: int = 0) -> bytes:
    """A grey image of one pixel."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes([0, shade]))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


PIXEL = base64.b64encode(png()).decode()


def content_sent(value: Any, context: dict[str, Any]) -> Any:
    """What the model is sent for a seed column `media` of this value."""
    scripted = ScriptedModel("seen")
    made = dd.DataDesignerConfigBuilder([model()])
    import pandas as pd

    made.with_seed_dataset(dd.DataFrameSeedSource(df=pd.DataFrame({"media": [value]})))
    made.add_column(
        name="seen",
        column_type="llm-text",
        model_alias="m",
        prompt="What is it?",
        multi_modal_context=[{"column_name": "media", **context}],
    )
    DataDesigner(transport=scripted).preview(made, num_records=1)
    return scripted.requests[0]["messages"][-1]["content"]


def described(values: list[Any], **fields: Any) -> dd.DataDesignerConfigBuilder:
    """A builder with a seed column `media` and a column without a prompt, which describes it."""
    import pandas as pd

    made = dd.DataDesignerConfigBuilder([model()])
    made.with_seed_dataset(dd.DataFrameSeedSource(df=pd.DataFrame({"media": values})))
    fields = {"column_type": "llm-text", "prompt": "", **fields}
    return made.add_column(name="seen", model_alias="m", **fields)


CONTEXT = [{"modality": "image", "column_name": "media"}]


def test_a_prompt_may_be_empty_if_media_are_sent() -> None:
    scripted = ScriptedModel("seen")
    made = described([URI], multi_modal_context=CONTEXT, system_prompt="Describe the image.")
    preview = DataDesigner(transport=scripted).preview(made, num_records=1)
    [system, user] = scripted.requests[0]["messages"]
    assert system["content"] == "Describe the image."
    assert [block["type"] for block in user["content"]] == ["image_url"]
    assert preview.analysis.column_statistics


def test_an_empty_prompt_leaves_the_instructions_of_the_kind() -> None:
    scripted = ScriptedModel()
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    made = described(
        [URI], column_type="llm-structured", output_format=schema, multi_modal_context=CONTEXT
    )
    DataDesigner(transport=scripted).preview(made, num_records=1)
    [image, text] = scripted.requests[0]["messages"][-1]["content"]
    assert image["type"] == "image_url"
    assert text["text"] == text["text"].strip()


def test_an_empty_prompt_without_media_is_a_problem() -> None:
    with pytest.raises(InvalidConfigError, match=r"seen\.prompt: is empty; write a prompt, or add"):
        DataDesigner().validate(described([URI]))
    with pytest.raises(DataDesignerGenerationError, match="empty and the row has no media"):
        made = described([None], multi_modal_context=CONTEXT)
        DataDesigner(transport=ScriptedModel("seen")).preview(made, num_records=1)


URI = f"data:image/png;base64,{PIXEL}"
CUT = f"data:image/png;base64,{base64.b64encode(png()[:-6]).decode()}"
SOUND = base64.b64encode(b"RIFF....WAVE").decode()


@pytest.mark.parametrize(
    ("context", "value", "sent"),
    [
        ({"modality": "image"}, PIXEL, {"type": "image_url", "image_url": {"url": URI}}),
        ({"modality": "image"}, URI, {"type": "image_url", "image_url": {"url": URI}}),
        (
            {"modality": "image", "data_type": "base64", "image_format": "png"},
            PIXEL,
            {"type": "image_url", "image_url": {"url": URI}},
        ),
        (
            {"modality": "image", "data_type": "url"},
            "https://x.test/a",
            {"type": "image_url", "image_url": {"url": "https://x.test/a"}},
        ),
        (
            {"modality": "audio", "data_type": "base64", "audio_format": "wav"},
            SOUND,
            {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}},
        ),
        (
            {"modality": "audio"},
            "https://x.test/a.mp3",
            {"type": "audio_url", "audio_url": {"url": "https://x.test/a.mp3"}},
        ),
        *(
            (
                {"modality": "audio"} | declared,
                f"data:audio/{name};base64,{SOUND}",
                {"type": "input_audio", "input_audio": {"data": SOUND, "format": known}},
            )
            for name, known in (("mpeg", "mp3"), ("mp3", "mp3"), ("x-wav", "wav"))
            for declared in ({}, {"audio_format": known})
        ),
        (
            {"modality": "video", "video_format": "mov"},
            "data:video/quicktime;base64,AAAA",
            {"type": "video_url", "video_url": {"url": "data:video/quicktime;base64,AAAA"}},
        ),
        (
            {"modality": "video", "video_format": "mp4"},
            "AAAA",
            {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
        ),
    ],
)
def test_a_medium_is_sent_before_the_prompt(context: Any, value: str, sent: Any) -> None:
    assert content_sent(value, context) == [sent, {"type": "text", "text": "What is it?"}]


@pytest.mark.parametrize("value", [[URI, PIXEL], json.dumps([URI, PIXEL])])
def test_every_medium_of_a_list_is_sent(value: Any) -> None:
    content = content_sent(value, {"modality": "image"})
    assert [block["type"] for block in content] == ["image_url", "image_url", "text"]


def test_a_file_is_sent_only_from_the_folders_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "a.png").write_bytes(png())
    (tmp_path / "secret.png").write_bytes(png())
    monkeypatch.chdir(inside)
    [block, _] = content_sent("a.png", {"modality": "image"})
    assert block["image_url"]["url"] == URI
    for path in ("../secret.png", str(tmp_path / "secret.png")):
        with pytest.raises(Exception, match="files in other places are not read"):
            content_sent(path, {"modality": "image"})


@pytest.mark.parametrize(
    ("context", "value", "complaint"),
    [
        ({"modality": "image"}, "hello there", "or base64 of a known format"),
        ({"modality": "image", "image_format": "jpg"}, URI, "image_format says image/jpeg"),
        ({"modality": "audio"}, "AAAA", "set audio_format"),
        ({"modality": "audio"}, "a/b.wav", "set data_type to 'url'"),
        ({"modality": "video", "data_type": "url"}, "b.txt", "neither an HTTP"),
    ],
)
def test_a_cell_without_a_medium_says_why(context: Any, value: str, complaint: str) -> None:
    with pytest.raises(Exception, match=complaint):
        content_sent(value, context)


def test_base64_needs_a_format() -> None:
    with pytest.raises(ValueError, match="image_format is required when data_type is 'base64'"):
        dd.ImageContext(column_name="x", data_type=dd.ModalityDataType.BASE64)


def test_a_context_without_modality_is_treated_as_an_image() -> None:
    with pytest.warns(DeprecationWarning, match="treated as an image"):
        column = dd.LLMTextColumnConfig(
            name="x", model_alias="m", prompt="?", multi_modal_context=[{"column_name": "i"}]
        )
    assert isinstance((column.multi_modal_context or [])[0], dd.ImageContext)


def test_an_unknown_context_column_is_found_before_the_run() -> None:
    made = builder().add_column(
        name="text",
        column_type="llm-text",
        model_alias="m",
        prompt="What is it?",
        multi_modal_context=[{"modality": "image", "column_name": "picture"}],
    )
    with pytest.raises(
        InvalidConfigError, match="multi_modal_context: refers to unknown column 'picture'"
    ):
        DataDesigner().validate(made)


def drawing(name: str = "flux", **fields: Any) -> dd.DataDesignerConfigBuilder:
    image = dd.ModelConfig(
        alias="draw",
        model=name,
        provider="openai",
        base_url="http://model.test/v1",
        inference_parameters=dd.ImageInferenceParams(extra_body={"size": "1x1"}),
    )
    made = builder()
    made.add_model_config(image)
    return made.add_column(
        name="pic/ture",
        column_type="image",
        model_alias="draw",
        prompt="Draw {{ topic }}",
        **fields,
    )


def image_message(uri: str = URI) -> httpx.Response:
    message = {"content": "", "images": [{"type": "image_url", "image_url": {"url": uri}}]}
    return httpx.Response(200, json={"choices": [{"message": message}], "usage": {}})


def test_images_of_a_dataset_are_files_and_those_of_a_preview_are_base64(tmp_path: Path) -> None:
    scripted = ScriptedModel(image_message())
    designer = DataDesigner(tmp_path, transport=scripted)
    made = designer.create(drawing(), num_records=2)
    rows = made.load_dataset()["pic/ture"].tolist()
    assert [len(paths) for paths in rows] == [1, 1]
    for (path,) in rows:
        assert path.startswith("images/pic_ture/") and path.endswith(".png")
        assert (made.dataset_path / path).read_bytes() == png()
    assert scripted.requests[0]["size"] == "1x1"
    assert designer.preview(drawing(), num_records=1).records()[0]["pic/ture"] == [PIXEL]
    assert made.usage["draw"]["pic/ture"]["images"] == 2


def test_models_known_to_draw_are_asked_by_the_images_route() -> None:
    scripted = ScriptedModel(httpx.Response(200, json={"data": [{"b64_json": PIXEL}]}))
    found = DataDesigner(transport=scripted).preview(drawing("gpt-image-1"), num_records=1)
    assert scripted.urls == ["http://model.test/v1/images/generations"]
    assert scripted.requests[0]["prompt"] == "Draw tea"
    assert found.records()[0]["pic/ture"] == [PIXEL]


@pytest.mark.parametrize("text", [f"Here: ![it]({URI})", PIXEL])
def test_images_are_found_in_the_text_of_an_answer(text: str) -> None:
    found = DataDesigner(transport=ScriptedModel(text)).preview(drawing(), num_records=1)
    assert found.records()[0]["pic/ture"] == [PIXEL]


def test_an_image_at_an_address_is_fetched_without_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DRAW_KEY", "secret-key")
    seen: list[httpx.Request] = []

    class Server(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            seen.append(request)
            if request.method == "GET":
                return httpx.Response(200, content=png())
            return image_message("https://cdn.test/a.png")

    made = drawing()
    made.delete_model_config("draw")
    made.add_model_config(
        dd.ModelConfig(
            alias="draw",
            model="flux",
            provider="openai",
            base_url="http://model.test/v1",
            api_key_env_var="DRAW_KEY",
            inference_parameters=dd.ImageInferenceParams(),
        )
    )
    found = DataDesigner(transport=Server()).preview(made, num_records=1)
    assert found.records()[0]["pic/ture"] == [PIXEL]
    assert [request.headers.get("authorization") for request in seen] == ["Bearer secret-key", None]


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [(chat_response("I cannot draw."), "without an image"), (image_message(CUT), "damaged")],
)
def test_an_answer_without_a_whole_image_drops_the_row(answer: Any, complaint: str) -> None:
    with pytest.raises(Exception, match=complaint):
        DataDesigner(transport=ScriptedModel(answer)).preview(drawing(), num_records=1)


@pytest.mark.parametrize("content", [b"", b"<html>busy</html>", "überlastet ".encode() * 30])
def test_text_in_place_of_an_image_is_requested_again(content: bytes) -> None:
    uri = f"data:image/png;base64,{base64.b64encode(content).decode() or '===='}"
    script = ScriptedModel([image_message(uri), image_message()])
    found = DataDesigner(transport=script).preview(drawing(), num_records=1)
    assert found.records()[0]["pic/ture"] == [PIXEL]


def test_an_unknown_format_is_not_requested_again() -> None:
    uri = f"data:image/avif;base64,{base64.b64encode(b'ftypavif' + bytes(9)).decode()}"
    script = ScriptedModel(image_message(uri))
    with pytest.raises(Exception, match="not in the format PNG"):
        DataDesigner(transport=script).preview(drawing(), num_records=1)
    assert len(script.requests) == 1


def test_whole_images_are_told_from_damaged_ones() -> None:
    assert is_whole_image(png())
    assert not is_whole_image(png()[:-6])
    assert is_whole_image(b"\xff\xd8\xff\xe0abc\xff\xd9")
    assert not is_whole_image(b"\xff\xd8\xff\xe0abc")
    assert is_whole_image(b"GIF89a...;")
    assert is_whole_image(b"RIFF\x04\0\0\0WEBP")
    assert not is_whole_image(b"RIFF\x08\0\0\0WEBP")
    assert not is_whole_image(b"<svg/>")


def embedding(target: str = "topic", **fields: Any) -> dd.DataDesignerConfigBuilder:
    made = builder()
    made.add_model_config(
        dd.ModelConfig(
            alias="embed",
            model="small",
            provider="openai",
            base_url="http://model.test/v1",
            inference_parameters=dd.EmbeddingInferenceParams(**fields),
        )
    )
    return made.add_column(
        name="vector", column_type="embedding", model_alias="embed", target_column=target
    )


def vectors(body: Body) -> httpx.Response:
    """For each text its length and 1."""
    data = [
        {"index": at, "embedding": [float(len(text)), 1.0]} for at, text in enumerate(body["input"])
    ]
    return httpx.Response(200, json={"data": data, "usage": {"prompt_tokens": 3}})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("tea", [[3.0, 1.0]]),
        ("123", [[3.0, 1.0]]),
        ('["a", "bb"]', [[1.0, 1.0], [2.0, 1.0]]),
        ("['a', 'bb',]", [[1.0, 1.0], [2.0, 1.0]]),
        ('["a", "bb",]', [[1.0, 1.0], [2.0, 1.0]]),
        ("[not a list", [[11.0, 1.0]]),
        ("[]", []),
    ],
)
def test_texts_and_lists_of_texts_are_embedded(value: str, expected: list[list[float]]) -> None:
    made = embedding("topic")
    made.add_column(
        name="topic", column_type="sampler", sampler_type="category", params={"values": [value]}
    )
    found = DataDesigner(transport=ScriptedModel(vectors)).preview(made, num_records=1)
    dimension = 2 if expected else 0
    value_of_row = found.records()[0]["vector"]
    assert [[*vector] for vector in value_of_row["embeddings"]] == expected
    assert value_of_row["num_embeddings"] == len(expected)
    assert value_of_row["dimension"] == dimension


def test_vectors_may_come_as_base64() -> None:
    packed = base64.b64encode(struct.pack("<2f", 0.5, -2.0)).decode()
    scripted = ScriptedModel(httpx.Response(200, json={"data": [{"embedding": packed}]}))
    made = embedding(encoding_format="base64", dimensions=2)
    found = DataDesigner(transport=scripted).preview(made, num_records=1)
    assert [*found.records()[0]["vector"]["embeddings"][0]] == [0.5, -2.0]
    assert scripted.requests[-1]["encoding_format"] == "base64"
    assert scripted.requests[-1]["dimensions"] == 2


def test_too_few_vectors_are_an_error() -> None:
    scripted = ScriptedModel(httpx.Response(200, json={"data": []}))
    with pytest.raises(Exception, match="returned 0 vectors for 1 inputs"):
        DataDesigner(transport=scripted).preview(embedding(), num_records=1)


def test_a_model_of_another_kind_is_refused_before_the_run() -> None:
    made = builder()
    made.add_column(
        name="vector", column_type="embedding", model_alias="m", target_column="nothing"
    )
    with pytest.raises(InvalidConfigError) as raised:
        DataDesigner().validate(made)
    assert "is for 'chat-completion'; set generation_type to 'embedding'" in str(raised.value)
    assert "columns.vector.target_column: refers to unknown column 'nothing'" in str(raised.value)


def test_a_code_column_holds_the_code_alone() -> None:
    made = builder().add_column(
        name="code", column_type="llm-code", model_alias="m", prompt="Go", code_lang="sql:postgres"
    )
    scripted = ScriptedModel(["```python\nx\n```", "Sure:\n```postgresql\nSELECT 1\n```\nDone."])
    found = DataDesigner(transport=scripted).preview(made, num_records=1)
    assert found.records()[0]["code"] == "SELECT 1"
    assert "```sql" in scripted.requests[0]["messages"][-1]["content"]
