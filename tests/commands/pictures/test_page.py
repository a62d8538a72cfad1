"""The page of the graph, in a browser: what it shows, what can be done with it, and what it never runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from bangerbuild.commands.pictures import page
from bangerbuild.model import FileDiff, Plan, Verb
from tests.in_process import run
from tests.need import need
from tests.projects import write_small
from tests.report.plans import MISSING, PLAN, action, changed
from tests.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver.remote.webelement import WebElement

HOSTILE = "</script><!--<script><img src=x onerror=\"document.title='owned'\">@DATA@&lt;"
HOSTILE_DIFF = FileDiff(f"/{HOSTILE}", f"--- a\n+++ a\n@@ -1 +1 @@\n-x\n+{HOSTILE}\n")
PHONE, DESK = (360, 740), (1200, 900)


def fleet(count: int) -> Plan:
    """A plan of an image, a fleet and a VM by itself, whose patch would write what is hostile."""
    names = [f"r-{number:04}" for number in range(count)]
    actions = [action("image.small.rootfs", Verb.KEEP)]
    for name in names:
        actions.append(action(f"vm.{name}.root", Verb.CREATE, MISSING, needs=("image.small.rootfs",)))
        actions.append(action(f"vm.{name}.root.patch", Verb.CREATE, MISSING, needs=(f"vm.{name}.root",)))
    actions.append(action("vm.web.root", Verb.KEEP, needs=("image.small.rootfs",)))
    actions.append(
        action(
            "vm.web.root.patch",
            Verb.UPDATE,
            changed("hostname", old=HOSTILE, new="x"),
            diffs=(HOSTILE_DIFF,),
            needs=("vm.web.root",),
        )
    )
    return Plan(Path("/b"), tuple(actions), fleets={"r": tuple(names)})


class Browser:
    """Chromium, without a window."""

    def __init__(self, directory: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = need("chromium")
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(argument)
        options.add_argument(f"--user-data-dir={directory / 'profile'}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(need("chromedriver")))
        self.directory = directory

    def open(self, text: str, size: tuple[int, int] = DESK) -> None:
        path = self.directory / "page.html"
        path.write_text(text)
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size is PHONE},
        )
        self.driver.get("about:blank")
        self.driver.get(path.as_uri())

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def rows(self) -> list[str]:
        """The names in the rows that are shown."""
        script = "return [...document.querySelectorAll('#rows .name')].map(name => name.textContent)"
        names: list[str] = self.driver.execute_script(script)
        return names

    def wait_for(self, rows: list[str]) -> None:
        WebDriverWait(self.driver, PATIENCE_SECONDS).until(lambda _: self.rows() == rows, str(rows))

    def row(self, key: str) -> WebElement:
        return self.one(f"#rows [data-key='{key}']")

    def type(self, *keys: str) -> None:
        self.driver.switch_to.active_element.send_keys(*keys)

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        width: int = self.driver.execute_script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return width

    def colour(self, scheme: str) -> str:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        return self.one("body").value_of_css_property("background-color")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.driver.quit()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The browser; whatever a test does, nothing may be said on its console, nothing hostile may have run."""
    yield chromium
    assert chromium.driver.get_log("browser") == []  # type: ignore[no-untyped-call]
    assert "owned" not in chromium.driver.title


def test_all_steps_of_a_small_plan_are_shown_with_action_and_reason(browser: Browser) -> None:
    browser.open(page.of_plan(PLAN))
    assert browser.one("h1").text == "Plan: 1 to create, 1 to update, 1 to grow, 1 blocked, 1 kept."
    assert {action.id for action in PLAN.actions} <= set(browser.rows())
    assert browser.row("vm.db.root").text.split("\n") == ["create", "vm.db.root", "missing"]


def test_a_click_shows_what_there_is_to_know_of_a_step_and_leads_to_its_neighbours(browser: Browser) -> None:
    browser.open(page.of_plan(fleet(2)))
    browser.row("vm.web.root.patch").click()
    text = browser.one("#step").text
    assert f"hostname: {HOSTILE}"[:60] in text
    assert f"+{HOSTILE}" in text
    assert browser.driver.find_elements(By.CSS_SELECTOR, "img, #step script") == []
    browser.one("#step li button").click()
    assert browser.one("#step h2").text == "vm.web.root"
    assert "vm.web.root.patch" in browser.one("#step").text  # what needs it
    browser.type(Keys.ESCAPE)
    assert not browser.one("#step").is_displayed()


def test_a_fleet_is_one_row_until_it_is_opened(browser: Browser) -> None:
    browser.open(page.of_plan(fleet(5000)))
    browser.wait_for(["image.small", "fleet.r (5000 VMs)", "vm.web"])
    assert "10000 create" in browser.row("fleet.r").text
    browser.row("fleet.r").click()
    assert len(browser.rows()) == 400
    assert "4,603 more rows" in browser.one("#rows").text
    browser.row("vm.r-0001").click()
    assert "vm.r-0001.root.patch" in browser.rows()


def test_a_search_finds_one_step_of_thousands_and_the_keyboard_opens_it(browser: Browser) -> None:
    browser.open(page.of_plan(fleet(5000)))
    browser.one("body").send_keys("/")
    browser.type("r-4711 patch")
    browser.wait_for(["fleet.r (1 VM)", "vm.r-4711", "vm.r-4711.root.patch"])
    browser.type(Keys.ARROW_DOWN)
    browser.type(Keys.ARROW_DOWN)
    browser.type(Keys.ARROW_DOWN)
    browser.type(Keys.ENTER)
    assert browser.one("#step h2").text == "vm.r-4711.root.patch"
    browser.type("/")
    browser.type(Keys.CONTROL, "a")
    browser.type("no such thing")
    browser.wait_for([])
    assert "Nothing matches." in browser.one("#rows").text


def test_one_action_alone_can_be_shown(browser: Browser) -> None:
    browser.open(page.of_plan(fleet(100)))
    browser.one("[data-verb=update]").click()
    assert browser.rows() == ["vm.web", "vm.web.root.patch"]
    assert browser.one("[data-verb=update]").get_attribute("aria-pressed") == "true"
    browser.one("[data-verb=update]").click()
    assert "fleet.r (100 VMs)" in browser.rows()


def test_nothing_is_wider_than_a_phone_and_nothing_is_empty(browser: Browser) -> None:
    browser.open(page.of_plan(fleet(100)), PHONE)
    assert browser.overflow() == 0
    browser.row("vm.web").click()
    browser.row("vm.web.root.patch").click()
    assert browser.overflow() == 0
    panel = browser.one("#step")
    assert panel.rect["width"] <= PHONE[0]
    assert panel.rect["height"] > 200
    assert len(browser.driver.get_screenshot_as_png()) > 10_000
    browser.one("#close").click()
    assert not panel.is_displayed()


def test_it_is_light_or_dark_as_the_system_is(browser: Browser) -> None:
    browser.open(page.of_plan(PLAN))
    assert browser.colour("light") == "rgba(255, 255, 255, 1)"
    assert browser.colour("dark") == "rgba(13, 17, 23, 1)"


def test_the_picture_has_a_box_for_each_group_that_opens_it(browser: Browser) -> None:
    browser.open(page.of_plan(fleet(100)))
    browser.one("#picture summary").click()
    boxes = browser.driver.find_elements(By.CSS_SELECTOR, "#picture g")
    assert [box.get_attribute("aria-label") for box in boxes] == ["image.small", "fleet.r", "vm.web"]
    boxes[2].click()
    assert "vm.web.root" in browser.rows()


def test_steps_of_records_alone_are_shown_without_actions(browser: Browser) -> None:
    browser.open(page.of_steps([one.step for one in PLAN.actions]))
    assert "No plan" in browser.one("h1").text
    assert "vm.db.root" in browser.rows()


def test_the_page_asks_the_network_for_nothing_and_its_data_is_no_markup() -> None:
    text = page.of_plan(fleet(1))
    assert re.findall(r"(?:https?:)?//[a-z]", text.replace("http://www.w3.org/2000/svg", "")) == []
    data = text.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    assert not {"<", ">", "&"} & set(data)
    assert json.loads(data)["steps"][-1]["diffs"][0]["lines"][-1] == f"+{HOSTILE}"


def test_the_command_shows_what_would_change_in_guests_and_reads_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BANGER_SECRET", "tiger")
    path = write_small(tmp_path, MANIFEST)
    assert run("apply", "-q")[0] == 0
    path.write_text(MANIFEST.replace("80", "81").replace("secret", "other"))
    monkeypatch.delenv("BANGER_SECRET")
    code, text = run("graph", "--format", "html")
    assert code == 0
    data = text.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    steps = {step["id"]: step for step in json.loads(data)["steps"]}
    assert steps["vm.web.root.patch"]["diffs"][0]["lines"][1:] == ["-port = 80", "+port = 81"]
    assert (steps["vm.key.root.patch"]["action"], steps["vm.key.root.patch"].get("diffs")) == ("update", None)
    assert "tiger" not in text
    path.write_text("[")
    assert "No plan" in run("graph", "--format", "html")[1]


MANIFEST = """\
[image.small]
rootfs = { directory = "tree", size = "16MiB" }
[vm.web]
image = "small"
work = false
[[vm.web.file]]
guest = "/etc/app.conf"
content = "port = 80\\n"
[vm.key]
image = "small"
work = false
[[vm.key.file]]
guest = "/etc/secret"
content = { env = "BANGER_SECRET" }
"""
