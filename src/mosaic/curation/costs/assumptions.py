"""The table [plan] of a recipe: what only a run can tell. It changes nothing of what is made."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(gt=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Price = Annotated[float, Field(ge=0)]
Judged = Literal["judge", "segment", "refer", "correspond"]


class Assumptions(BaseModel):
    """Look at the first samples of a run, set these, and plan again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accepted: dict[Judged, Share] = {}  # of the samples that come to a stage, the share that go on
    seconds: dict[str, Seconds] = {}  # by the part's name, paint or "refer masks" say: what one piece takes
    subjects: Annotated[float, Field(gt=0)] | None = None  # a sample of an import; left out: by its kind
    price: tuple[Price, Price] | None = None  # dollars of a million tokens in, and out; left out: not told
