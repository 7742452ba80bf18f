"""The page as its reader has it: in a browser, without a network."""

import pytest
from board.page.conftest import CLOSING, HOSTILE, METHODS

NAMES = "[...document.querySelectorAll('tbody:not([hidden]) th summary')].map(one => one.textContent)"


def heading(text):
    """The expression of a head's button, by its text."""
    return f"[...document.querySelectorAll('thead button')].find(one => one.textContent === {text!r})"


def draw_first(tab):
    """Have the first figure in view until it is drawn."""
    tab.value("document.querySelector('figure').scrollIntoView()")
    tab.wait_for("document.querySelector('figure .main-svg')")


def test_a_figure_is_drawn_when_it_comes_into_view_and_not_before(browser, made):
    opened = browser.open(made.address, height=300)
    assert opened.value("'Plotly' in window") is False
    draw_first(opened)
    assert 1 <= opened.value("document.querySelectorAll('figure:has(.main-svg)').length") < opened.value("document.querySelectorAll('figure').length")
    opened.close()


def test_nothing_is_asked_of_any_server_and_the_console_stays_empty(drawn, made):
    drawn.value(f"{heading('step cost')}.click()")
    assert drawn.errors() == []
    assert drawn.requests() == [made.address]


@pytest.mark.parametrize("script", [True, False])
def test_a_name_that_is_markup_is_shown_and_never_run(browser, made, script):
    opened = browser.open(made.address, script=script)
    opened.ask("Emulation.setScriptExecutionDisabled", value=False)
    assert HOSTILE in opened.value(NAMES)
    assert opened.value("document.querySelectorAll('table script, img, iframe').length") == 0
    opened.close()


def test_a_name_that_is_markup_is_a_label_in_figures(drawn):
    labels = set(drawn.value("[...document.querySelectorAll('svg text')].map(one => one.textContent)"))
    assert {HOSTILE, f"train/{CLOSING}", CLOSING} <= labels
    assert drawn.value("document.querySelectorAll('svg a, svg img, svg script, figure img').length") == 0


def test_a_click_on_a_head_sorts_the_rows_and_a_second_one_turns_them_round(tab):
    by_mean = sorted(METHODS, key=METHODS.get)
    button = heading("top1")
    tab.value(f"{button}.click()")
    assert tab.value(NAMES) == by_mean[::-1]
    assert tab.value(f"{button}.closest('th').ariaSort") == "descending"
    tab.value(f"{button}.click()")
    assert tab.value(NAMES) == by_mean
    assert tab.value("[...document.querySelectorAll('thead th')].map(one => one.ariaSort)").count("none") == 9


def test_rows_without_a_value_come_last_in_either_order(tab):
    button = heading("gain over student")
    for _ in range(2):
        tab.value(f"{button}.click()")
        assert tab.value(NAMES)[-1] == "student"


def test_the_table_is_sorted_by_the_keyboard(tab):
    tab.value(f"{heading('method')}.focus()")
    tab.press("Enter")
    assert tab.value(NAMES) == sorted(METHODS)
    tab.press("Tab")
    assert tab.value("document.activeElement.textContent") == "top1"


def test_text_filters_the_rows_and_says_how_many_are_left(tab):
    tab.value("document.querySelector('input').focus()")
    tab.type("ONE kd")
    assert set(tab.value(NAMES)) == {"kd", "rkd"}
    assert tab.value("document.querySelector('output').textContent") == "2 of 5 rows"


def test_a_row_opens_to_the_runs_that_it_is_made_of(tab, made):
    more = "document.querySelector('tbody .more')"
    assert tab.value(f"getComputedStyle({more}).display") == "none"
    tab.value("document.querySelector('tbody summary').click()")
    tab.wait_for(f"getComputedStyle({more}).display === 'table-row'")
    shown = tab.value(f"{more}.textContent")
    assert all(run_id in shown for run_id in made.frame["run_ids"][0])


def test_one_method_at_a_time_is_shown_and_drawn_when_it_is_chosen(tab):
    tab.value(
        "(() => { const one = document.querySelector('.choice select'); one.value = '2'; one.dispatchEvent(new Event('change')); one.scrollIntoView(); })()"
    )
    assert tab.value("[...document.querySelectorAll('.method:not([hidden])')].map(one => one.dataset.method)") == ["2"]
    tab.wait_for("document.querySelectorAll('.method:not([hidden]) .main-svg').length >= 2")


def test_without_a_script_the_answer_the_table_and_the_runs_are_read(browser, made):
    opened = browser.open(made.address, script=False)
    opened.ask("Emulation.setScriptExecutionDisabled", value=False)
    text = opened.value("document.body.innerText")
    assert f"Nothing is established about {CLOSING}." in text
    assert "A script draws this figure" in text
    assert opened.value("document.querySelector('.filter').checkVisibility()") is False
    assert set(opened.value(NAMES)) == set(METHODS)
    opened.close()


def test_a_browser_that_cannot_unpack_the_library_says_so_where_the_figure_would_be(browser, made):
    opened = browser.open(made.address, height=300)
    opened.value("delete window.DecompressionStream")
    opened.value("document.querySelector('figure').scrollIntoView()")
    opened.wait_for("document.querySelector('.plot').textContent.includes('has no DecompressionStream')")
    assert opened.errors() == []
    opened.close()


WIDER = "[...document.querySelectorAll('html, .scrolled')].filter(one => one.scrollWidth > one.clientWidth).length"


def test_nothing_is_wider_than_a_window_of_1280_pixels(drawn):
    assert drawn.value(WIDER) == 0


def test_nothing_is_wider_than_a_telephone_of_390_pixels(browser, made):
    opened = browser.open(made.address, 390)
    draw_first(opened)
    assert opened.value(WIDER) == 0
    opened.close()


def test_a_dark_screen_gets_a_dark_page_and_figures_that_are_read_on_it(browser, made):
    opened = browser.open(made.address, dark=True)
    draw_first(opened)
    assert opened.value("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    inks = "getComputedStyle(document.querySelector('svg .xtick text')).fill"
    assert opened.value(inks) == "rgb(230, 233, 237)"
    opened.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    opened.wait_for(f"{inks} === 'rgb(27, 31, 36)'")
    opened.close()


def test_the_printed_page_is_light_whole_and_as_narrow_as_paper(browser, made):
    opened = browser.open(made.address, 1000, dark=True)
    draw_first(opened)
    assert opened.pdf().startswith(b"%PDF")
    wide = "document.querySelector('.main-svg').width.baseVal.value > 660"
    opened.wait_for(wide)  # as before it was printed
    opened.ask("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    opened.wait_for(f"!({wide})")
    assert opened.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert opened.value("document.querySelector('.filter').checkVisibility()") is False
    opened.close()


def test_every_figure_and_every_head_has_a_text_for_readers_who_do_not_see_it(drawn):
    alternatives = drawn.value("[...document.querySelectorAll('figure .plot')].map(one => one.role + one.ariaLabel + one.nextElementSibling.textContent)")
    assert len(alternatives) > 6 and all(text.startswith("img") and len(text) > 60 for text in alternatives)
    nodes = drawn.ask("Accessibility.getFullAXTree")["nodes"]
    roles = [node["role"]["value"] for node in nodes if not node["ignored"] and "role" in node]
    assert roles.count("columnheader") == 10
    assert roles.count("rowheader") == 5
