"""The page in a real browser: no error, no request, hostile text inert, sorting and filtering, both themes, a phone."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, browser, find_browser
from fake_sweep import FakeRun, digits, training_log, write_sweep

from sweeper import model, results
from sweeper.page import as_script, make_page

needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium with its chromedriver on this machine")

HOSTILE = "</script><script>window.hit=1</script><img src=x onerror=window.hit=2>'\"`${window.hit=3}\u2028&lt;<!--"
EXPLORE = ["runs", "curves", "parallel", "parameters", "heat", "timeline", "failures"]


def write_page(folder: Path, runs: list[FakeRun], **settings: Any) -> Path:
    write_sweep(folder / "night", runs)
    report = results.collect(results.from_folders(folder / "night", **settings))
    page = folder / "report.html"
    page.write_text(str(results.render(report, "html")), encoding="utf-8")
    return page


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as session:
        yield session


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("night"), digits(), repeat=("seed",))


def opened(chromium: Browser, page: Path, *, width: int = 1300, phone: bool = False) -> Browser:
    chromium.errors()
    chromium.requests()
    chromium.size(width, 900, phone=phone)
    chromium.open(page)
    chromium.wait("return document.querySelectorAll('#runs tbody tr').length > 0")
    return chromium


def rows(chromium: Browser) -> int:
    return int(chromium.run("return document.querySelectorAll('#runs tbody tr[data-run]').length"))


def column(chromium: Browser, place: int) -> list[str]:
    return list(
        chromium.run(f"return [...document.querySelectorAll('#runs tbody tr')].map(r => r.cells[{place}].innerText)")
    )


# -- without a browser --------------------------------------------------------------------------------------------


def test_the_page_is_one_file_that_names_no_other(night: Path) -> None:
    text = night.read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", text)
    assert not re.findall(r"@import|url\(", text)
    assert "default-src 'none'" in text
    assert "unsafe-inline" not in text


def test_nothing_in_the_data_can_end_its_element() -> None:
    data = {"a": HOSTILE, "b": "]]>&amp;\u2029"}
    text = as_script(data)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == data
    with pytest.raises(ValueError, match="JSON compliant"):
        as_script({"a": float("nan")})


def test_a_hostile_title_is_text() -> None:
    page = make_page({"states": [], "sweeps": []}, title=HOSTILE)
    assert page.count("</script>") == 2
    assert "<img src=x" not in page


def test_ten_thousand_points_a_curve_make_no_monster(tmp_path: Path) -> None:
    rng = random.Random(1)
    runs = [FakeRun({"a": n}, training_log(rng, 0.9, 3000)) for n in range(12)]
    assert write_page(tmp_path, runs).stat().st_size < 1_500_000


# -- in the browser -----------------------------------------------------------------------------------------------


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_answers_the_five_questions(chromium: Browser, night: Path, theme: str) -> None:
    chromium.theme(theme)
    opened(chromium, night)
    text = chromium.run("return document.querySelector('.glance').innerText")
    for question in ("night go well?", "is best?", "mattered?", "failed, and why?", "next?"):
        assert question in text
    for answer in (
        "55",
        "of 72 done",
        "0.9691",
        "val_acc",
        "99 %",
        "all 12 have hidden=1024 and batch_size=256",
        "sweep logs night 16",
    ):
        assert answer in text
    assert chromium.run("return document.documentElement.dataset.theme") == theme
    for name in EXPLORE:
        assert chromium.run(f"return document.getElementById('{name}') !== null"), name
    assert chromium.errors() == []
    chromium.theme("light")


@needs_browser
def test_the_page_asks_for_nothing(chromium: Browser, night: Path) -> None:
    opened(chromium, night)
    chromium.click("#theme")
    # the browser's own first page may still be loading its parts
    asked = [url for url in chromium.requests() if not url.startswith(("data:", "chrome"))]
    assert asked == [night.as_uri()]
    assert chromium.errors() == []


@needs_browser
def test_every_picture_is_drawn_in_both_themes(chromium: Browser, night: Path) -> None:
    opened(chromium, night)
    painted = """return [...document.querySelectorAll('.chart canvas:first-child')].map((canvas) => {
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
        copy.drawImage(canvas, 0, 0);
        const data = copy.getImageData(0, 0, canvas.width, canvas.height).data;
        const seen = new Set();
        for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 100) seen.add(data.slice(i, i + 3).join());
        return seen.size; })"""
    drawn = f"const colours = (() => {{ {painted} }})(); return Math.min(...colours) > 4 && colours.length;"
    # the best run's curve, all curves, parallel axes, four parameters, the timeline
    assert chromium.wait(drawn) == 8
    chromium.click("#theme")
    assert chromium.wait(drawn) == 8
    assert chromium.errors() == []


@needs_browser
def test_hostile_text_is_inert(chromium: Browser, tmp_path: Path) -> None:
    rng = random.Random(1)
    runs = [
        FakeRun({HOSTILE: HOSTILE + str(n), "n": n}, training_log(rng, 0.5 + n / 10), gpus=[HOSTILE]) for n in range(3)
    ]
    for n in (3, 4):
        log = f"Traceback (most recent call last):\nValueError: {HOSTILE}\n"
        runs.append(
            FakeRun({HOSTILE: HOSTILE, "n": n}, log, state=model.FAILED, exit_code=1, reason=HOSTILE, gpus=[HOSTILE])
        )
    page = write_page(tmp_path, runs, maximize="val_acc")
    opened(chromium, page)
    shown = chromium.run("return document.body.textContent")
    assert "window.hit=2" in shown
    assert chromium.run("return typeof window.hit") == "undefined"
    assert chromium.run("return document.querySelectorAll('img, iframe, object').length") == 0
    assert chromium.run("return document.scripts.length") == 2
    for css in ("#runs tbody tr", "#failures summary"):
        chromium.hover(css)
    chromium.hover("#curves .chart", 100, 0)
    chromium.type("#filter", HOSTILE)
    assert chromium.run("return typeof window.hit") == "undefined"
    assert chromium.errors() == []


@needs_browser
def test_no_script_from_outside_runs_even_if_it_gets_in(chromium: Browser, night: Path) -> None:
    opened(chromium, night)
    chromium.run(
        "const s = document.createElement('script'); s.textContent = 'window.hit = 1'; document.body.append(s)"
    )
    chromium.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hit = 2\">')")
    assert chromium.run("return typeof window.hit") == "undefined"
    assert any("Content Security Policy" in message for message in chromium.errors())


@needs_browser
def test_runs_that_are_gone_from_the_file_are_marked(chromium: Browser, tmp_path: Path) -> None:
    write_sweep(tmp_path / "night", [FakeRun({"lr": n}, f"epoch=1 val_acc=0.{n}\n") for n in (5, 6, 7)])
    data = results.from_folders(tmp_path / "night")
    records = [replace(record, wanted=record.number < 3) for record in data.records]
    page = tmp_path / "report.html"
    page.write_text(str(results.render(results.collect(replace(data, records=records)), "html")), encoding="utf-8")
    opened(chromium, page)
    assert column(chromium, 0) == ["2", "1", "3"]
    assert column(chromium, 3) == ["done", "done", "done, gone"]
    chromium.type("#filter", "gone")
    assert rows(chromium) == 1
    assert chromium.errors() == []


@needs_browser
def test_curves_of_runs_that_are_not_ranked_have_a_legend(chromium: Browser, tmp_path: Path) -> None:
    rng = random.Random(1)
    runs = [FakeRun({"lr": n}, training_log(rng, 0.5 + n / 10)) for n in range(4)]
    runs[3].state = model.TIMEOUT
    opened(chromium, write_page(tmp_path, runs))
    assert "not ranked: did not finish" in chromium.run("return document.querySelector('#curves .legend').innerText")
    assert "1 that did not finish" in chromium.run("return document.querySelector('.glance').innerText")
    assert column(chromium, 0) == ["3", "2", "1", "4"]
    opened(chromium, write_page(tmp_path / "well", runs[:3]))
    assert "not ranked" not in chromium.run("return document.querySelector('#curves .legend').innerText")
    assert chromium.errors() == []


@needs_browser
def test_the_table_sorts(chromium: Browser, night: Path) -> None:
    opened(chromium, night)
    assert rows(chromium) == 24
    ranked = chromium.run("return document.querySelectorAll('#runs tbody tr:not(.unranked)').length")
    best_first = [float(text.split()[0]) for text in column(chromium, 0)[:ranked]]
    assert best_first == sorted(best_first, reverse=True)
    chromium.click("#runs .head button")
    assert rows(chromium) == 72
    chromium.click("#runs th:nth-child(1) button")
    numbers = [int(text) for text in column(chromium, 0)]
    assert numbers == list(range(1, 73))
    chromium.click("#runs th:nth-child(1) button")
    assert [int(text) for text in column(chromium, 0)] == list(range(72, 0, -1))
    assert chromium.run("return document.querySelector('#runs th').getAttribute('aria-sort')") == "descending"
    chromium.click("#runs th:nth-child(2) button")
    values = [float(text) for text in column(chromium, 1) if text]
    assert values == sorted(values, reverse=True)


@needs_browser
@pytest.mark.parametrize(
    ("typed", "count"),
    [
        ("lr<0.1 hidden=64", 12),
        ("lr>=0.1 state=done", 25),
        ("val_acc_best>0.97", None),
        ("OutOfMemory", 12),
        ("state!=done", 17),
        ("run=7", 1),
        ("nothing has this", 0),
        ("lr<", 0),
        ('"out of memory"', 12),
    ],
)
def test_the_filter_works_on_everything(chromium: Browser, night: Path, typed: str, count: int | None) -> None:
    opened(chromium, night)
    chromium.click("#runs .head button")
    chromium.type("#filter", typed)
    if count is None:
        count = sum(float(text) > 0.97 for text in column(chromium, 1) if text)
        assert count > 0
    assert rows(chromium) == count
    assert chromium.run("return document.getElementById('count').textContent").startswith(f"{count} of 72")
    assert chromium.errors() == []


@needs_browser
def test_a_state_can_be_left_out(chromium: Browser, night: Path) -> None:
    opened(chromium, night)
    chromium.click("#runs .head button")
    chromium.click(".state:nth-of-type(1)")
    assert rows(chromium) == 17


@needs_browser
def test_pointing_at_a_curve_names_its_run_and_a_click_keeps_it(chromium: Browser, night: Path) -> None:
    opened(chromium, night)
    for dy in range(-150, 150, 10):
        chromium.hover("#curves .chart", 300, dy)
        if not chromium.run("return document.querySelector('.tip').hidden"):
            break
    assert re.match(r"run \d+ · done", chromium.run("return document.querySelector('.tip').innerText"))
    chromium.run(
        """const chart = document.querySelector('#curves .chart'), box = chart.getBoundingClientRect();
        for (const kind of ['pointermove', 'click']) chart.dispatchEvent(new MouseEvent(kind, {bubbles: true,
            clientX: box.left + box.width / 2 + 300, clientY: box.top + box.height / 2 + arguments[0]}))""",
        dy,
    )
    chromium.click("#runs .head button")
    assert chromium.run("return document.querySelectorAll('#runs tr.pinned').length") == 1
    assert chromium.errors() == []


@needs_browser
def test_dragging_along_an_axis_filters_and_a_click_lets_go(chromium: Browser, night: Path) -> None:
    opened(chromium, night)
    chromium.click("#runs .head button")
    size = "const chart = document.querySelector('#parallel .chart'); return [chart.clientWidth, chart.clientHeight]"
    width, height = chromium.run(size)
    axis = round(40 - width / 2)  # the first axis, lr: from 3.0 at its top to 0.001 at its foot
    chromium.drag("#parallel .chart", (axis, round(height / 2) - 4), (axis, round(height / 2) - 80))
    assert rows(chromium) == 18
    assert set(column(chromium, 2)) == {"0.001"}
    chromium.drag("#parallel .chart", (axis, 0), (axis, 0))
    assert rows(chromium) == 72
    assert chromium.errors() == []


@needs_browser
def test_the_controls_of_the_pictures(chromium: Browser, night: Path) -> None:
    opened(chromium, night)
    change = """const e = document.querySelector(arguments[0]); e.value = arguments[1];
        for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind))"""
    chromium.run(change, "#curves input[type=range]", "0.9")
    chromium.run(change, "#curves select", "1")
    for word in ("lr", "seed", ""):
        chromium.run(change, "#curves label select", word)
    for place in (1, 2):
        chromium.click(f"#curves .quiet:nth-of-type({place})")
    chromium.run(change, "#heat select", "batch_size")
    chromium.run(change, "#heat select:last-of-type", "best")
    assert chromium.run("return document.querySelectorAll('#heat .heat div').length") > 6
    assert chromium.errors() == []


@needs_browser
@pytest.mark.parametrize("count", [1, 2])
def test_a_sweep_of_hardly_any_runs(chromium: Browser, tmp_path: Path, count: int) -> None:
    rng = random.Random(1)
    opened(chromium, write_page(tmp_path, [FakeRun({"lr": n}, training_log(rng, 0.9)) for n in range(count)]))
    assert rows(chromium) == count
    assert chromium.errors() == []


@needs_browser
def test_a_sweep_without_metrics_or_with_nothing_done(chromium: Browser, tmp_path: Path) -> None:
    runs = [
        FakeRun({"lr": 1}, "hello\n"),
        FakeRun({"lr": 2}, "", state=model.QUEUED),
        FakeRun({"lr": 3}, "x\n", state=model.LOST),
    ]
    opened(chromium, write_page(tmp_path, runs))
    assert rows(chromium) == 3
    assert "no metric" in chromium.run("return document.body.innerText").lower()
    assert chromium.errors() == []


@needs_browser
def test_two_thousand_runs(chromium: Browser, tmp_path: Path) -> None:
    rng = random.Random(1)
    log = [training_log(rng, goal / 20, 30) for goal in range(20)]
    runs = [
        FakeRun({"lr": rng.random(), "wd": rng.choice([0, 0.1]), "net": rng.choice("abc")}, log[n % 20], gpus=["slot"])
        for n in range(2000)
    ]
    page = write_page(tmp_path, runs)
    assert page.stat().st_size < 4_000_000
    opened(chromium, page)
    assert rows(chromium) == 100
    chromium.click("#runs .more")
    assert rows(chromium) == 400
    chromium.type("#filter", "net=a wd=0.1")
    assert 200 < int(chromium.run("return document.getElementById('count').textContent").split()[0]) < 500
    taken = chromium.run("""const start = performance.now(); const chart = document.querySelector('#curves .chart');
        const box = chart.getBoundingClientRect();
        chart.dispatchEvent(new PointerEvent('pointermove', {clientX: box.left + 400, clientY: box.top + 100}));
        return performance.now() - start""")
    assert taken < 1000  # a hundred times what it takes on a quiet machine
    assert chromium.errors() == []


@needs_browser
def test_several_sweeps_share_a_page(chromium: Browser, tmp_path: Path) -> None:
    rng = random.Random(1)
    reports = []
    for name, key in (("first", "lr"), ("second", "depth")):
        write_sweep(tmp_path / name, [FakeRun({key: n}, training_log(rng, 0.9)) for n in range(3)])
        reports.append(results.collect(results.from_folders(tmp_path / name)))
    page = tmp_path / "both.html"
    page.write_text(str(results.render(reports, "html")), encoding="utf-8")
    opened(chromium, page)
    assert chromium.run("return document.querySelector('h1').textContent") == "first"
    chromium.run("const e = document.getElementById('sweep'); e.value = '1'; e.dispatchEvent(new Event('change'))")
    assert chromium.run("return document.querySelector('h1').textContent") == "second"
    assert "depth" in chromium.run("return document.querySelector('#runs thead').innerText")
    assert chromium.errors() == []


@needs_browser
def test_a_phone_scrolls_down_only(chromium: Browser, night: Path) -> None:
    opened(chromium, night, width=390, phone=True)
    assert chromium.run("return document.documentElement.scrollWidth") == 390
    small = """return [...document.querySelectorAll('.glance *, .head *')].filter((node) => node.textContent.trim()
        && node.childElementCount === 0 && parseFloat(getComputedStyle(node).fontSize) < 11).length"""
    assert chromium.run(small) == 0
    assert chromium.errors() == []
