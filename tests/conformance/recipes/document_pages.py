"""Questions about scanned pages, which are images in the seed dataset."""

import base64

import data_designer.config as dd
import pandas as pd
from pydantic import BaseModel

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
    "RU5ErkJggg=="
)


class PageQuestion(BaseModel):
    question: str
    answer: str


def load_config_builder() -> dd.DataDesignerConfigBuilder:
    assert base64.b64decode(PIXEL)
    frame = pd.DataFrame({"page": [1, 2], "png": [PIXEL, PIXEL], "title": ["Tea", "Ice"]})
    builder = dd.DataDesignerConfigBuilder(
        [dd.ModelConfig(alias="vision", model="some/vision", provider="scripted")]
    )
    builder.with_seed_dataset(
        dd.LocalFileSeedSource.from_dataframe(frame, "pages.parquet"),
        selection_strategy=dd.IndexRange(start=0, end=1),
    )
    builder.add_column(
        dd.LLMStructuredColumnConfig(
            name="qa",
            model_alias="vision",
            prompt="Ask about page {{ page }} of {{ title }}.",
            output_format=PageQuestion,
            multi_modal_context=[
                dd.ImageContext(
                    column_name="png",
                    data_type=dd.ModalityDataType.BASE64,
                    image_format=dd.ImageFormat.PNG,
                )
            ],
        )
    )
    builder.add_column(
        dd.LLMJudgeColumnConfig(
            name="relevance",
            model_alias="vision",
            prompt="Is {{ qa.question }} about the page?",
            multi_modal_context=[
                dd.ImageContext(
                    column_name="png", data_type="base64", image_format=dd.ImageFormat.PNG
                )
            ],
            scores=[dd.Score(name="relevant", description="x", options={"yes": "y", "no": "n"})],
        )
    )
    return builder
