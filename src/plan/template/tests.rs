//! What templates promise: mistakes found early, values escaped by place, types kept, nothing
//! rendered that is not set.

mod page;

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::fixed::Fixed;
use super::*;
use crate::plan::Columns;
use crate::plan::names::Declared;

/// Slot 1 is a value, 2 a value of null, 3 unset, 4 a row of which there are batches of 2.
fn scope() -> Fixed {
    let item =
        json!({"id": 5, "tags": ["a b", "c"], "max": "9", "list": [10, 20], "evil": "x\r\nY: z"});
    let row = json!({"text": "t\"1", "n": 1.5});
    let batch = Some((4, 2, json!([{"text": "one"}, {"text": "two"}])));
    let mut scope = Fixed::of([None, Some(item), Some(Value::Null), None, Some(row)]);
    scope.batch = batch;
    scope
}

fn names() -> Names {
    let constants: BTreeMap<String, Value> = [
        ("name", json!("a \"b\"/ü")),
        ("n", json!(5)),
        ("rows", json!([{"x": 1.5}])),
        ("a_b", json!(["x", "y"])),
        ("evil", json!("a\r\nb")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let mut names = Names::from(&constants);
    names.declare("item", Declared::Value(1));
    names.declare("none", Declared::Value(2));
    names.declare("unset", Declared::Value(3));
    names.declare("texts", Declared::Row(4));
    names.declare("token", Declared::External);
    names
}

fn render(compiled: &Compiled) -> Result<String, String> {
    let mut out = Vec::new();
    compiled
        .render(&mut scope(), &mut out)
        .map_err(|e| e.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

fn compiled(source: &str, place: Place) -> Result<Compiled, String> {
    Template::parse(source)?.compile(&names(), place)
}

fn rendered(source: &str, place: Place) -> Result<String, String> {
    render(&compiled(source, place)?)
}

fn text(source: &str) -> String {
    rendered(source, Place::Text).unwrap_or_else(|e| panic!("{source}: {e}"))
}

fn rendered_json(value: Value) -> Result<String, String> {
    render(&JsonTemplate::new(value)?.compile(&names())?)
}

fn whole(expression: &str) -> String {
    rendered_json(json!(format!("{{{{ {expression} }}}}")))
        .unwrap_or_else(|e| panic!("{expression}: {e}"))
}

#[test]
fn mistakes_are_found_before_anything_is_sent() {
    for source in [
        "{{ name",
        "{{ }}",
        "{{}}",
        "{{ nobody }}",
        "{{ name.x }}",
        "{{ rows[1] }}",
        "{{ rows[-1] }}",
        "{{ rows[n] }}",
        "{{ launch() }}",
        "{{ randInt(1) }}",
        "{{ randInt(2, 1) }}",
        "{{ randInt('x', 1) }}",
        "{{ randFloat(1, 2, 99) }}",
        "{{ randString(-1) }}",
        "{{ randString(3, '') }}",
        "{{ uuid }}",
        "{{ uuid().x }}",
        "{{ n + 1 }}",
        "{{ \"a }}",
        "{{ 'a\\x' }}",
        "{{ user }}",
        "{{ user.name }}",
        "{{ worker }}",
        "{{ pick() }}",
        "{{ pick(n) }}",
        "{{ now('noon') }}",
        "{{ now('%!') }}",
        "{{ now(item.id) }}",
        "{{ int('x') }}",
        "{{ sha256(n, 'octal') }}",
        "{{ lower(raw(name)) }}",
        "{{ name.take(2) }}",
        "{{ texts.take() }}",
        "{{ texts.take(0) }}",
        "{{ texts.take(n, n) }}",
        "{{ texts.drop(2) }}",
        "{{ token.x }}",
        "{{ 1.x }}",
        "{{ 01 }}",
        "{{ 1a }}",
        "{{ a..b }}",
    ] {
        assert!(
            rendered(source, Place::Text).is_err(),
            "{source} was accepted"
        );
    }
    let deep = format!("{{{{ {}1{} }}}}", "float(".repeat(1000), ")".repeat(1000));
    assert!(rendered(&deep, Place::Text).unwrap_err().contains("deep"));
    assert!(
        rendered_json(json!({"{{ name }}": 1}))
            .unwrap_err()
            .contains("keys")
    );
}

#[test]
fn a_mistake_in_a_name_says_which_there_are() {
    let error = rendered("{{ itme.id }}", Place::Text).unwrap_err();
    assert!(
        error.contains("\"itme\"") && error.contains("item") && error.contains("worker.index"),
        "{error}"
    );
    let error = rendered("{{ randomInt(1, 2) }}", Place::Text).unwrap_err();
    assert!(error.contains("randInt"), "{error}");
}

#[test]
fn what_is_not_set_is_never_an_empty_string() {
    for (source, expected) in [
        ("{{ unset }}", "unset is not set"),
        ("{{ sha256(unset) }}", "unset is not set"),
        ("{{ token }}", "token is not set"),
        ("{{ texts.take(3) }}", "texts is not set"),
        (
            "{{ item.nothing }}",
            "there is no field \"nothing\" in item",
        ),
        ("{{ item.tags[2] }}", "there is no item [2] in item"),
        (
            "{{ texts.take(2).word }}",
            "there is no field \"word\" in texts",
        ),
        (
            "{{ pick(item.id) }}",
            "pick: this is no list, or an empty one",
        ),
    ] {
        assert_eq!(
            rendered(source, Place::Text).unwrap_err(),
            expected,
            "{source}"
        );
    }
    assert_eq!(whole("none"), "null");
}

#[test]
fn a_header_never_holds_a_line_break() {
    for source in [
        "{{ evil }}",
        "{{ raw(evil) }}",
        "a\nb",
        "{{ item.evil }}",
        "{{ raw(item.evil) }}",
        "{{ now('%n') }}",
        "{{ pick('a', '\\n') }}",
    ] {
        let error = rendered(source, Place::Header).unwrap_err();
        assert!(error.contains("CR, LF or NUL"), "{source}: {error}");
    }
    assert_eq!(
        rendered("Bearer {{ item.max }} {{ texts }}", Place::Header).unwrap(),
        r#"Bearer 9 {"text":"t\"1","n":1.5}"#
    );
}

#[test]
fn a_path_stays_one_path() {
    for source in [
        "/a b",
        "/ü",
        "/a#b",
        "/{{ raw(name) }}",
        "/{{ raw(item.evil) }}",
    ] {
        assert!(
            rendered(source, Place::Path).is_err(),
            "{source} was accepted"
        );
    }
    assert_eq!(
        rendered("/a/{{ name }}", Place::Path).unwrap(),
        "/a/a%20%22b%22%2F%C3%BC"
    );
    assert_eq!(
        rendered("/{{ item.evil }}?q={{ item.list }}", Place::Path).unwrap(),
        "/x%0D%0AY%3A%20z?q=%5B10%2C20%5D"
    );
    assert_eq!(
        rendered("/{{ raw('x/y?z=1') }}", Place::Path).unwrap(),
        "/x/y?z=1"
    );
    assert_eq!(
        rendered(
            "/{{ urlEncode('x/y') }}/{{ string(urlEncode('x/y')) }}",
            Place::Path
        )
        .unwrap(),
        "/x%2Fy/x%252Fy"
    );
    assert_eq!(
        rendered("/{{ now() }}", Place::Path).unwrap(),
        "/2023-11-14T22%3A13%3A20.123Z"
    );
}

#[test]
fn values_are_escaped_by_place() {
    assert_eq!(text("x={{ name }}"), "x=a \"b\"/ü");
    assert_eq!(
        text("{{ rows[0].x }}-{{ user.id }}-{{ iteration }}-{{ worker.index }}-{{ seq() }}"),
        "1.5-7-3-2-11"
    );
    assert_eq!(
        rendered("a b+{{ name }}~", Place::Form).unwrap(),
        "a+b%2Ba+%22b%22%2F%C3%BC~"
    );
    assert_eq!(rendered("{{ item.tags[0] }}", Place::Form).unwrap(), "a+b");
    assert_eq!(
        rendered("{{ raw('a=b&c') }}", Place::Form).unwrap(),
        "a=b&c"
    );
    assert_eq!(
        rendered_json(json!("<{{ texts.text }}>")).unwrap(),
        r#""<t\"1>""#
    );
    assert_eq!(
        rendered_json(json!("<{{ rows }}>")).unwrap(),
        r#""<[{\"x\":1.5}]>""#
    );
    assert_eq!(whole("raw('[1, 2]')"), "[1, 2]");
}

#[test]
fn a_whole_expression_keeps_its_type_in_json() {
    assert_eq!(
        rendered_json(
            json!({"b": "{{ n }}", "a": "n={{ n }}", "c": "{{ name }}", "d": "{{ rows }}"})
        )
        .unwrap(),
        r#"{"a":"n=5","b":5,"c":"a \"b\"/ü","d":[{"x":1.5}]}"#
    );
    for (expression, expected) in [
        ("user.id", "7"),
        ("item.id", "5"),
        ("item['tags'][1]", "\"c\""),
        ("item.tags", r#"["a b","c"]"#),
        ("texts", r#"{"text":"t\"1","n":1.5}"#),
        ("texts.take(2)", r#"[{"text":"one"},{"text":"two"}]"#),
        ("texts.take(2).text", r#"["one","two"]"#),
        ("texts.take(2)[1].text", "\"two\""),
        ("float(1)", "1.0"),
        ("float('2.50')", "2.5"),
        ("float(n)", "5.0"),
        ("float(item.id)", "5.0"),
        ("int(item.max)", "9"),
        ("int(1.9)", "1"),
        ("string(n)", "\"5\""),
        ("string(item.id)", "\"5\""),
        ("true", "true"),
        ("null", "null"),
        ("-1.5e3", "-1500.0"),
        ("'a\\'\\n'", r#""a'\n""#),
        ("add(iteration, 1)", "4"),
        ("mod(user.id, 4)", "3"),
        ("length(item.tags)", "2"),
        ("jsonEncode(item.tags)", r#""[\"a b\",\"c\"]""#),
        ("jsonDecode('{\"a\": [1]}').a[0]", "1"),
        ("pick(rows).x", "1.5"),
    ] {
        assert_eq!(whole(expression), expected, "{expression}");
    }
}

#[test]
fn json_is_as_an_api_server_gives_it_back() {
    assert_eq!(
        rendered_json(json!({"z": 1.0, "a": 1e3, "m": 1.5, "e": [], "o": {}})).unwrap(),
        r#"{"a":1000,"e":[],"m":1.5,"o":{},"z":1}"#
    );
    assert!(rendered_json(json!({"big": u64::MAX})).is_err());
}

#[test]
fn functions_make_what_they_say() {
    assert_eq!(text("{{ uuid() }}"), "01234567-89ab-4def-8246-8acf13579bde");
    assert_eq!(whole("now('unix')"), "1700000000");
    assert_eq!(whole("now('unixMillis')"), "1700000000123");
    assert_eq!(whole("now()"), "\"2023-11-14T22:13:20.123Z\"");
    assert_eq!(whole("now('%d.%m.%Y \"%H\"')"), r#""14.11.2023 \"22\"""#);
    assert_eq!(
        text("{{ base64('a?>') }} {{ base64Url('a?>') }} {{ base64(item.max) }}"),
        "YT8+ YT8- OQ=="
    );
    assert_eq!(
        text("{{ base64Decode('w7w=') }} {{ upper(item.tags[0]) }} {{ lower('AB') }}"),
        "ü A B ab"
    );
    assert_eq!(text("{{ sha256(item.max) }}"), text("{{ sha256('9') }}"));
    assert_eq!(
        text("{{ hmacSha256('k', item.max) }}"),
        text("{{ hmacSha256('k', '9') }}")
    );
    assert_eq!(text("{{ urlEncode('ä&b') }}"), "%C3%A4%26b");
    assert_eq!(text("{{ '{{' }} }}"), "{{ }}");
}

#[test]
fn random_values_stay_within_their_bounds() {
    let mut scope = scope();
    let mut value = |expression: &str| {
        let compiled = JsonTemplate::new(json!(format!("{{{{ {expression} }}}}")))
            .unwrap()
            .compile(&names())
            .unwrap();
        (0..500)
            .map(|_| compiled.value(&mut scope).unwrap())
            .collect::<Vec<_>>()
    };
    for bounds in ["randInt(-2, 2)", "randInt(item.id, item.max)"] {
        let drawn: BTreeSet<i64> = value(bounds).iter().map(|v| v.as_i64().unwrap()).collect();
        let expected = if bounds.contains("item") {
            5..=9
        } else {
            -2..=2
        };
        assert_eq!(drawn, expected.collect(), "{bounds}");
    }
    for v in value("randFloat(0.5, 2, 1)")
        .iter()
        .map(|v| v.as_f64().unwrap())
    {
        assert!((0.5..=2.0).contains(&v) && v.to_string().len() <= 3, "{v}");
    }
    assert!(
        value("randFloat(n, item.max)")
            .iter()
            .all(|v| (5.0..=9.0).contains(&v.as_f64().unwrap()))
    );
    for expression in [
        "randString(20)",
        "randString(20, 'äbc')",
        "randString(mul(item.id, 4), 'ab')",
    ] {
        assert!(
            value(expression)
                .iter()
                .all(|v| v.as_str().unwrap().chars().count() == 20),
            "{expression}"
        );
    }
    for (expression, count) in [
        ("pick('a', n, item.id)", 2),
        ("pick('a', 'b', 'c')", 3),
        ("pick(a_b)", 2),
        ("pick(item.list)", 2),
    ] {
        let drawn: BTreeSet<String> = value(expression).iter().map(Value::to_string).collect();
        // n and item.id are both 5
        assert_eq!(drawn.len(), count, "{expression}: {drawn:?}");
    }
}

#[test]
fn all_rows_that_are_needed_are_named_once() {
    let compiled = compiled(
        "{{ texts.text }}{{ texts }}{{ sha256(texts.take(2)) }}{{ pick(texts.take(2)).text }}{{ item }}",
        Place::Text,
    );
    let expected = [
        Need {
            slot: 4,
            take: None,
        },
        Need {
            slot: 4,
            take: Some(2),
        },
    ];
    assert_eq!(compiled.unwrap().needs(), expected);
}

#[test]
fn what_never_differs_is_one_piece() {
    for value in [
        "{{ name }}",
        "{{ sha256(name) }}-{{ rows[0].x }}",
        "{{ float(n) }}",
    ] {
        let compiled = JsonTemplate::new(json!({"a": value, "b": [1, "x"]}))
            .unwrap()
            .compile(&names())
            .unwrap();
        assert!(compiled.as_static().is_some(), "{value}");
    }
}

#[test]
fn nothing_that_is_shown_holds_a_value() {
    let mut names = Names::default();
    names.declare("token", Declared::Constant(json!("canary").into()));
    let shown = |source: &str| {
        let compiled = Template::parse(source)
            .unwrap()
            .compile(&names, Place::Header);
        format!("{compiled:?} {names:?}")
    };
    for source in [
        "{{ token }}",
        "{{ token.x }}",
        "{{ int(token) }}",
        "{{ pick(token) }}",
        "{{ now(token) }}",
        "{{ pick(token, user.id) }}",
    ] {
        assert!(!shown(source).contains("canary"), "{}", shown(source));
    }
}

#[test]
fn other_delimiters_leave_the_usual_ones_alone() {
    let square = Delimiters::new("[[", "]]").unwrap();
    let template = Template::parse_with("{{ a }}[[ a_b[0] ]]-[[a_b[1]]]", &square).unwrap();
    assert_eq!(
        render(&template.compile(&names(), Place::Text).unwrap()).unwrap(),
        "{{ a }}x-y"
    );
    let json = JsonTemplate::new_with(json!({"a": "[[ n ]]", "b": "{{ n }}"}), &square).unwrap();
    assert_eq!(
        render(&json.compile(&names()).unwrap()).unwrap(),
        r#"{"a":5,"b":"{{ n }}"}"#
    );

    let copy: Template = serde_json::from_str(&serde_json::to_string(&template).unwrap()).unwrap();
    assert_eq!(copy, template);
    let copy: JsonTemplate = serde_json::from_str(&serde_json::to_string(&json).unwrap()).unwrap();
    assert_eq!(copy, json);
    assert_eq!(
        serde_json::to_value(Template::parse("{{ n }}").unwrap()).unwrap(),
        json!("{{ n }}")
    );
}

#[test]
fn delimiters_that_expressions_are_made_of_are_refused() {
    for (open, close) in [
        ("[", "]]"),
        ("", ""),
        ("<<<<<", ">>"),
        ("a[", "]]"),
        ("[[", "[["),
        ("< ", ">>"),
        ("''", ">>"),
        ("__", ">>"),
        ("<<", "[>"),
        ("«", "»"),
    ] {
        assert!(Delimiters::new(open, close).is_err(), "{open} {close}");
        assert!(
            serde_json::from_value::<Delimiters>(json!({"open": open, "close": close})).is_err(),
            "{open} {close}"
        );
    }
    for (open, close) in [
        ("<%", "%>"),
        ("${{", "}}"),
        ("((", "))"),
        ("@@", "##"),
        ("<-", "->"),
    ] {
        let delimiters = Delimiters::new(open, close).unwrap();
        let template = Template::parse_with(
            &format!("{open} add(n, 1) {close}{open}-1{close}{open} n{close}"),
            &delimiters,
        )
        .unwrap();
        assert_eq!(
            render(&template.compile(&names(), Place::Text).unwrap()).unwrap(),
            "6-15",
            "{open} {close}"
        );
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(source in ".{0,60}", place in prop::sample::select(vec![Place::Path, Place::Form, Place::Header])) {
        let _outcome = rendered(&source, place);
        let _outcome = rendered(&format!("{{{{{source}}}}}"), place);
    }

    #[test]
    fn what_looks_like_an_expression_never_panics(source in "[a-z(){}\\[\\].,'\"\\\\ 0-9e+-]{0,40}") {
        let _outcome = rendered(&format!("{{{{ texts.{source}"), Place::Text);
        let _outcome = rendered(&format!("{{{{ {source} }}}}"), Place::JsonString);
    }

    #[test]
    fn text_without_braces_is_itself(source in "[^{}]{0,60}") {
        prop_assert_eq!(text(&source), source);
    }

    #[test]
    fn json_strings_are_those_of_the_library(text in "(.|[\u{0}-\u{1f}\"\\\\]){0,40}") {
        let mut out = Vec::new();
        escape::write_value(&Value::from(text.as_str()), Place::JsonValue, &mut out).unwrap();
        prop_assert_eq!(String::from_utf8(out).unwrap(), Value::from(text).to_string());
    }

    #[test]
    fn every_value_keeps_its_type(value in any_json(), constant: bool) {
        let mut names = Names::default();
        names.declare("v", if constant { Declared::Constant(value.clone().into()) } else { Declared::Value(1) });
        let mut scope = Fixed::of([None, Some(value.clone())]);
        let compiled = JsonTemplate::new(json!({"whole": "{{ v }}", "text": "<{{ v }}>"})).unwrap().compile(&names).unwrap();
        let back = compiled.value(&mut scope).unwrap();
        prop_assert_eq!(&back["whole"], &value);
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        prop_assert_eq!(back["text"].as_str().unwrap(), format!("<{text}>"));
        let alone = JsonTemplate::new(json!("{{ v }}")).unwrap().compile(&names).unwrap();
        prop_assert_eq!(alone.value(&mut scope).unwrap(), value);
    }

    #[test]
    fn a_rendered_path_is_a_request_target(value in ".{0,30}", raw: bool) {
        let mut names = Names::default();
        names.declare("v", Declared::Value(1));
        let mut scope = Fixed::of([None, Some(value.into())]);
        let source = if raw { "/{{ raw(v) }}" } else { "/{{ v }}" };
        let mut out = Vec::new();
        let outcome = Template::parse(source).unwrap().compile(&names, Place::Path).unwrap().render(&mut scope, &mut out);
        prop_assert!(raw || outcome.is_ok());
        prop_assert!(out.iter().all(|b| (0x21..=0x7e).contains(b)));
    }
}

#[test]
fn columns_that_a_feeder_lacks_are_found_where_its_data_are_known() {
    let mut names = Names::default();
    names.declare("texts", Declared::Row(4));
    let checked = |names: &Names, source: &str| Template::parse(source)?.check(names, Place::Text);
    let wrong = [
        "{{ texts.txet }}",
        "{{ texts.take(2).txet }}",
        "{{ texts.take(2)[0].txet }}",
        "{{ sha256(texts['txet']) }}",
    ];
    assert!(wrong.iter().all(|source| checked(&names, source).is_ok()));
    let columns = |is_secret| {
        Columns {
            names: ["id".to_owned(), "text".to_owned()].into(),
            is_secret,
        }
        .into()
    };
    names.declare_columns(4, columns(false));
    for source in wrong {
        assert_eq!(
            checked(&names, source).unwrap_err(),
            "texts has no column \"txet\"; it has id, text",
            "{source}"
        );
    }
    for source in [
        "{{ texts.text.deep }}",
        "{{ texts.take(2).id }}",
        "{{ texts.take(2)[1].id }}",
        "{{ texts }}",
        "{{ texts.take(1) }}",
    ] {
        checked(&names, source).unwrap();
    }
    names.declare_columns(4, columns(true));
    assert_eq!(
        checked(&names, wrong[0]).unwrap_err(),
        "texts has no column \"txet\""
    );
}
