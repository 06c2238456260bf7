//! The script for pages in a real browser, on the pages of a web site of another origin.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::redis::Redis;
use crate::support::server::repository;
use crate::support::site::Site;
use crate::support::{api, http, wait_for};
use crate::wire::program::Program;
use crate::wire::shared::check;
use crate::wire::shared_sessions::server_with;
use crate::wire::{Setup, Stage, call, detail, play_with};

const KEY: &str = "a public key of the sample page";
/// The number of the pages, and those that are lent.
const OWN: &str = "+16145550100";
const FIRST: &str = "+16145550101";
const SECOND: &str = "+16145550102";

#[test]
fn a_visitor_sees_a_number_of_its_own_wherever_the_page_shows_one_as_it_is_written_there() {
    let body = r#"
        <p id="near">Call (614) 555-0100 or 614.555.0100!</p>
        <p id="far">+1 614 555 0100, 1-614-555-0100, (+1) 614/555-0100</p>
        <p id="other">Fax 614-555-0177, order 16145550100234, 555-0100</p>
        <a id="link" href="tel:614-555-0100">here</a> <a id="fax" href="tel:+16145550177">fax</a>
        <p id="any" class="tollbridge-number">Sales: <b>+1 (800) 555-0199</b>, since 1998</p>
        <p id="empty" data-tollbridge></p>
        <textarea id="field">614-555-0100</textarea> <p id="edit" contenteditable>614-555-0100</p>"#;
    visit(&[FIRST], "", |stage, site| {
        // Nothing but the server's script is run, and nobody but the server is asked.
        let server = format!("http://{}", stage.api);
        site.add_header(&format!(
            "Content-Security-Policy: default-src 'none'; script-src {server}; connect-src {server}"
        ));
        site.add("/", page(stage, &format!("data-number=\"{OWN}\""), body));
        let browser = Browser::start(&json!({}))?;
        browser.open(&site.url("/"))?;

        browser.until(&text("near"), &json!("Call (614) 555-0101 or 614.555.0101!"))?;
        let shown = [
            ("far", "+1 614 555 0101, 1-614-555-0101, (+1) 614/555-0101"),
            ("other", "Fax 614-555-0177, order 16145550100234, 555-0100"),
            ("any", "Sales: +1 (614) 555-0101, since 1998"),
            ("empty", "(614) 555-0101"),
            ("field", "614-555-0100"),
            ("edit", "614-555-0100"),
        ];
        for (id, expected) in shown {
            browser.until(&text(id), &json!(expected))?;
        }
        browser.until(&href("link"), &json!("tel:+16145550101"))?;
        browser.until(&href("fax"), &json!("tel:+16145550177"))?;

        // What comes later, and what is written anew.
        browser.run(
            r#"document.body.insertAdjacentHTML("beforeend",
                '<div><p id="late">Now: 614 555 0100</p><a id="later" href="tel:+1-614-555-0100">x</a></div>');
               document.getElementById("near").firstChild.data = "Or 614-555-0100";"#,
        )?;
        browser.until(&text("late"), &json!("Now: 614 555 0101"))?;
        browser.until(&href("later"), &json!("tel:+16145550101"))?;
        browser.until(&text("near"), &json!("Or 614-555-0101"))?;
        ensure!(browser.run("return tollbridge.ready")? == FIRST);
        nothing_is_wrong(&browser, stage)
    });
}

#[test]
fn a_visitor_keeps_its_number_from_page_to_page_and_from_tab_to_tab_and_gives_signs_of_life() {
    visit(&[FIRST, SECOND], "heartbeat_s = 5", |stage, site| {
        site.add("/", page(stage, "", MARKED));
        site.add("/prices", page(stage, "", MARKED));
        let browser = Browser::start(&json!({}))?;
        browser.open(&site.url("/?utm_source=search&gclid=g1&secret=s"))?;
        browser.until(&text("number"), &json!("614-555-0101"))?;
        let session = session_at(stage, FIRST)?;

        browser.open(&site.url("/prices"))?;
        browser.until(&text("number"), &json!("614-555-0101"))?;
        let first_tab = browser.tab()?;
        browser.new_tab()?;
        browser.open(&site.url("/"))?;
        browser.until(&text("number"), &json!("614-555-0101"))?;
        browser.close_tab()?;
        browser.switch_to(&first_tab)?;

        ensure!(session_at(stage, FIRST)? == session, "it is one session");
        browser.run(r#"tollbridge.set({ "cart": "boiler" })"#)?;
        wait_for("what the page tells", Duration::from_secs(5), || {
            Ok((shown(stage, &session)?["tags"]["cart"] == "boiler").then_some(()))
        })?;
        let tags = shown(stage, &session)?["tags"].clone();
        ensure!(tags["utm_source"] == "search" && tags["gclid"] == "g1", "{tags:#}");
        ensure!(tags["page.path"] == "/prices", "{tags:#}");
        ensure!(!tags.to_string().contains("secret"), "{tags:#}");

        // The page of the other tab may have been closed last: only a sign of life says that one is open.
        let before = shown(stage, &session)?["expires_at"].clone();
        wait_for("a sign of life", Duration::from_secs(12), || {
            Ok((shown(stage, &session)?["expires_at"] != before).then_some(()))
        })?;
        hide(&browser, true)?;
        // One may be on its way.
        std::thread::sleep(Duration::from_millis(500));
        let heard = requests(stage)?;
        std::thread::sleep(Duration::from_millis(6_500));
        ensure!(requests(stage)? == heard, "who does not look at the page gives no sign of life");
        hide(&browser, false)?;
        wait_for("a sign of life", Duration::from_secs(3), || {
            Ok((requests(stage)? > heard).then_some(()))
        })?;
        nothing_is_wrong(&browser, stage)
    });
}

#[test]
fn a_closed_page_lets_its_number_go_and_who_found_none_gets_it() {
    let brief = "heartbeat_s = 5\nclosed_browser_delay_s = 1\nquarantine_s = 2";
    visit(&[FIRST], brief, |stage, site| {
        site.add("/", page(stage, "", MARKED));
        let (one, other) = (Browser::start(&json!({}))?, Browser::start(&json!({}))?);
        one.open(&site.url("/"))?;
        one.until(&text("number"), &json!("614-555-0101"))?;
        let session = session_at(stage, FIRST)?;

        other.open(&site.url("/"))?;
        ensure!(other.run("return tollbridge.ready")?.is_null());
        other.until(&text("number"), &json!("614-555-0100"))?;
        other.run("tollbridge.onnumber = (...told) => { window.told = told }")?;

        let last = one.tab()?;
        one.new_tab()?;
        let blank = one.tab()?;
        one.switch_to(&last)?;
        one.close_tab()?;
        one.switch_to(&blank)?;
        wait_for("the number to rest", Duration::from_secs(5), || {
            let number = http::get(stage.api, &format!("/v1/numbers/{FIRST}"))?.json::<Value>()?;
            let past = &number["history"][0];
            let rests = past["session"] == session.as_str() && past["rested_until"] != past["to"];
            Ok((number["session"].is_null() && rests).then_some(()))
        })?;
        other.until(&text("number"), &json!("614-555-0101"))?;
        other.until("window.told", &json!([FIRST, "(614) 555-0101"]))?;
        nothing_is_wrong(&other, stage)
    });
}

#[test]
fn two_visitors_get_two_numbers_and_one_needs_no_memory_of_the_browser() {
    visit(&[FIRST, SECOND], "", |stage, site| {
        site.add("/", page(stage, "", MARKED));
        let one = Browser::start(&json!({}))?;
        one.open(&site.url("/"))?;
        one.until(&text("number"), &json!("614-555-0101"))?;

        // Neither cookies nor storage.
        let forgetful = json!({ "profile.default_content_setting_values.cookies": 2 });
        let other = Browser::start(&forgetful)?;
        other.open(&site.url("/"))?;
        other.until(&text("number"), &json!("614-555-0102"))?;
        let storage = "try { return localStorage.length } catch { return document.cookie }";
        ensure!(other.run(storage)? == "", "the browser should keep nothing");
        nothing_is_wrong(&one, stage)?;
        nothing_is_wrong(&other, stage)
    });
}

#[test]
fn a_page_keeps_its_number_while_the_server_is_away_and_gets_one_when_it_is_back() {
    visit(&[FIRST], "", |stage, site| {
        site.add("/", page(stage, "", MARKED));
        let browser = Browser::start(&json!({}))?;
        browser.open(&site.url("/"))?;
        browser.until(&text("number"), &json!("614-555-0101"))?;

        stage.end(Program::kill)?;
        // The browser has the script.
        browser.open(&site.url("/?again"))?;
        ensure!(browser.run("return tollbridge.ready")?.is_null());
        browser.until(&text("number"), &json!("614-555-0100"))?;

        stage.serve()?;
        browser.until(&text("number"), &json!("614-555-0101"))?;
        nothing_is_wrong(&browser, stage)
    });
}

#[test]
fn a_page_keeps_its_number_while_the_servers_cannot_ask_for_its_session_and_goes_on_with_it() {
    let site = Site::start().unwrap();
    let work = tempfile::tempdir().unwrap();
    let mut redis = Redis::alone(work.path()).unwrap();
    let more = lending(&site, &[FIRST, SECOND], "heartbeat_s = 5");
    let server = |node| server_with(&redis.address().to_string(), node, &more, &[]).unwrap();
    let (first, second) = (server(1), server(2));
    let mut play = || -> Result<()> {
        // The first server opens the session, the second one is asked to keep it.
        site.add("/", page(&first, "", MARKED));
        site.add("/prices", page(&second, "", MARKED));
        let browser = Browser::start(&json!({}))?;
        browser.open(&site.url("/"))?;
        browser.until(&text("number"), &json!("614-555-0101"))?;
        let session = session_at(&first, FIRST)?;
        browser.open(&site.url("/prices"))?;
        browser.until(&text("number"), &json!("614-555-0101"))?;
        ensure!(session_at(&second, FIRST)? == session, "it is one session");

        redis.kill()?;
        let beats = |status| answered(&second, "/v1/sessions/", status);
        wait_for("signs of life that nobody can take", Duration::from_secs(30), || {
            Ok((beats("503")? >= 2.0).then_some(()))
        })?;
        let number = &json!("614-555-0101");
        ensure!(browser.run(&format!("return {}", text("number")))? == *number);
        let before = beats("200")?;

        redis.restart()?;
        wait_for("a sign of life that is taken", Duration::from_secs(30), || {
            Ok((beats("200")? > before).then_some(()))
        })?;
        ensure!(browser.run(&format!("return {}", text("number")))? == *number);
        ensure!(session_at(&second, FIRST)? == session, "it is the same session");
        let other = http::get(second.api, &format!("/v1/numbers/{SECOND}"))?.json::<Value>()?;
        ensure!(
            other["session"].is_null() && other["history"][0].is_null(),
            "it had the other number meanwhile: {other:#}"
        );
        ensure!(beats("404")? == 0.0, "it was said to be over");
        nothing_is_wrong(&browser, &second)?;
        first.is_clean()
    };
    let played = play();
    check(&[&first, &second], played);
}

#[test]
fn a_page_of_an_origin_that_is_not_named_keeps_its_number() {
    visit(&[FIRST], "", |stage, _| {
        let stranger = Site::start()?;
        stranger.add("/", page(stage, "", MARKED));
        let browser = Browser::start(&json!({}))?;
        browser.open(&stranger.url("/"))?;
        ensure!(browser.run("return tollbridge.ready")?.is_null());
        browser.until(&text("number"), &json!("614-555-0100"))?;
        let number = http::get(stage.api, &format!("/v1/numbers/{FIRST}"))?.json::<Value>()?;
        ensure!(number["session"].is_null(), "{number:#}");
        stage.is_clean()
    });
}

#[test]
fn a_call_to_the_number_on_the_sample_page_is_the_visitor_s_with_the_click_that_led_there() {
    visit(&[FIRST, SECOND], "", |stage, site| {
        for path in ["index.html", "prices.html"] {
            let html = fs::read_to_string(repository("examples/dni").join(path))?;
            let here = stage.api.to_string();
            ensure!(html.contains("127.0.0.1:8080") && html.contains(KEY), "{html}");
            site.add(&format!("/{path}"), html.replace("127.0.0.1:8080", &here));
        }
        let browser = Browser::start(&json!({}))?;
        browser.open(&site.url("/index.html?utm_source=search&utm_campaign=no+heat&gclid=g1"))?;
        browser.until(
            &text("text"),
            &json!("Call (614) 555-0101, from abroad +1 614 555 0101, at any hour."),
        )?;
        browser.until(&text("call"), &json!("Call 614.555.0101"))?;
        browser.run(r#"document.querySelector('nav a[href="prices.html"]').click()"#)?;
        browser.until("location.pathname", &json!("/prices.html"))?;
        browser.until(&href("call"), &json!("tel:+16145550101"))?;

        call(stage, FIRST, "of-the-visitor", &[])?;
        let found = detail(stage, "of-the-visitor")?;
        let session = session_at(stage, FIRST)?;
        ensure!(found["session_id"] == session.as_str(), "{found:#}");
        ensure!(found["confidence"] == 0.99, "{found:#}");
        let session = shown(stage, &session)?;
        let tags = &session["tags"];
        ensure!(tags["utm_campaign"] == "no heat" && tags["gclid"] == "g1", "{session:#}");
        ensure!(tags["utm_source"] == "search" && session["status"] == "consumed", "{session:#}");
        nothing_is_wrong(&browser, stage)
    });
}

#[test]
fn the_business_behind_the_sample_page_is_valid_and_knows_its_key() -> Result<()> {
    let (folder, work) = (repository("examples/dni"), tempfile::tempdir()?);
    let config = folder.join("tollbridge.toml");
    let parsed: Value = toml::from_str(&fs::read_to_string(&config)?)?;
    let browser = &parsed["pools"][0]["browser"];
    ensure!(browser["site_key"] == KEY, "{browser:#}");
    ensure!(browser["origins"][0] == "http://127.0.0.1:8000", "{browser:#}");
    ensure!(parsed["campaigns"][0]["numbers"] == json!([OWN]), "{parsed:#}");

    let arguments = ["check", "--config", &config.display().to_string()].map(str::to_owned);
    let mut check = Program::spawn(&arguments, &work.path().join("check.log"))?;
    let status = check.ended(Duration::from_secs(10))?;
    ensure!(status.success(), "{}", check.log());
    Ok(())
}

const MARKED: &str = r#"<p id="number" class="tollbridge-number">614-555-0100</p>"#;

/// Plays a test with a server whose pool lends `numbers` to visitors of a site.
fn visit(numbers: &[&str], pool: &str, part: impl FnOnce(&mut Stage, &Site) -> Result<()>) {
    let site = Site::start().unwrap_or_else(|error| panic!("{error:#}"));
    let more = lending(&site, numbers, pool);
    play_with(Setup { more: &more, ..Setup::default() }, |stage| part(stage, &site));
}

/// A pool that lends these numbers to visitors of the site.
fn lending(site: &Site, numbers: &[&str], pool: &str) -> String {
    format!(
        "[[pools]]\nid = \"pool\"\ncampaign = \"alone\"\npublisher = \"tests\"\nnumbers = {numbers:?}\n{pool}\n\
         browser = {{ site_key = \"{KEY}\", origins = [\"{}\"] }}\n",
        site.origin(),
    )
}

fn page(stage: &Stage, attributes: &str, body: &str) -> String {
    let server = stage.api;
    format!(
        "<!doctype html><title>A page</title>\
         <script src=\"http://{server}/v1/dni.js\" data-key=\"{KEY}\" {attributes} async></script>{body}"
    )
}

/// What stands in an element.
fn text(id: &str) -> String {
    format!("document.getElementById({id:?}).textContent")
}

fn href(id: &str) -> String {
    format!("document.getElementById({id:?}).getAttribute(\"href\")")
}

/// As if the visitor looked at something else.
fn hide(browser: &Browser, hidden: bool) -> Result<()> {
    let script = format!(
        "Object.defineProperty(document, 'hidden', {{ configurable: true, get: () => {hidden} }});
         document.dispatchEvent(new Event('visibilitychange'))"
    );
    browser.run(&script).map(drop)
}

/// The session that has a number.
fn session_at(stage: &Stage, number: &str) -> Result<String> {
    let number = http::get(stage.api, &format!("/v1/numbers/{number}"))?.json::<Value>()?;
    Ok(number["session"].as_str().with_context(|| format!("nobody's: {number:#}"))?.to_owned())
}

fn shown(stage: &Stage, session: &str) -> Result<Value> {
    http::get(stage.api, &format!("/v1/sessions/{session}"))?.json()
}

/// How many requests about sessions there were that pages send.
fn requests(stage: &Stage) -> Result<f64> {
    answered(stage, "/v1/sessions", "")
}

/// How many of them whose routes begin so had an answer whose status begins so.
fn answered(stage: &Stage, route: &str, status: &str) -> Result<f64> {
    let series = api::series(stage.api)?;
    let labels =
        [format!("route=\"{route}"), String::from("method=\"POST\""), format!("status=\"{status}")];
    let of_pages = series.iter().filter(|(name, _)| {
        let is_it = name.starts_with("tollbridge_api_requests_total");
        is_it && labels.iter().all(|label| name.contains(label))
    });
    Ok(of_pages.map(|(_, count)| count).sum())
}

fn nothing_is_wrong(browser: &Browser, stage: &Stage) -> Result<()> {
    let console = browser.console()?;
    ensure!(console.is_empty(), "the console says {console:#?}");
    stage.is_clean()
}
