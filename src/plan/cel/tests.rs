//! Expressions: mistakes found before evaluation, errors without values, and programs that never
//! panic.

use proptest::prelude::*;
use serde_json::json;

use super::super::Columns;
use super::super::template::fixed::Fixed;
use super::*;

struct Answered(Result<Value, &'static str>);

impl Subject for Answered {
    fn status(&self) -> u16 {
        201
    }
    fn headers(&self, each: &mut dyn FnMut(&str, &[u8])) {
        each("Content-Type", b"application/json");
        each("Vary", b"a");
        each("vary", b"b");
    }
    fn body(&self) -> Result<&[u8], &str> {
        Ok(b"text \xff")
    }
    fn json(&self) -> Result<&Value, &str> {
        self.0.as_ref().map_err(|why| *why)
    }
    fn raw_events(&self) -> Result<&Value, &str> {
        self.json()
    }
    fn latency(&self) -> Duration {
        Duration::from_micros(2500)
    }
}

fn names() -> Names {
    let mut names = Names::default();
    names.declare("limit", Declared::Constant(json!(5).into()));
    names.declare("token", Declared::Value(0));
    names.declare("unset", Declared::Value(1));
    names.declare("texts", Declared::Row(2));
    names
}

fn compiled(source: &str) -> CompiledCel {
    Cel::parse(source)
        .and_then(|cel| cel.compile(&names()))
        .unwrap_or_else(|why| panic!("{source}: {why}"))
}

fn evaluated(source: &str) -> Result<bool, String> {
    let answer = Answered(Ok(
        json!({"n": 3, "f": 1.5, "t": "x", "items": [{"ok": true}, {"ok": false}], "deep": {"a": {"b": 1}}}),
    ));
    let values = Fixed::of([Some(json!("t-1")), None, Some(json!({"text": "row"}))]);
    compiled(source)
        .is_true(Some(&answer), &values)
        .map_err(|why| why.to_string())
}

#[test]
fn what_is_wrong_is_found_before_it_is_evaluated() {
    for (source, why) in [
        ("status ==", "is not CEL"),
        ("", "is not CEL"),
        ("state == 200", "\"state\" is not known; there are status"),
        ("status.code == 200", "has no part"),
        ("vars == 1", "must be followed by a name"),
        (
            "vars.nobody == 1",
            "vars.nobody is not declared; there are vars.limit, vars.token, vars.unset",
        ),
        ("vars['nobody'] == 1", "vars.nobody is not declared"),
        ("vars.texts.text == ''", "write feeders.texts"),
        ("feeders.nobody.x == ''", "there are feeders.texts"),
        ("user.name == ''", "user.id only"),
        ("json.items.exists(x, y.ok)", "\"y\" is not known"),
        ("launch(status)", "there is no function launch()"),
        ("json.t.launch()", "there is no function .launch()"),
        ("json.?a == 1", "is not CEL"),
        ("optional.of(1) == 1", "there is no function .of()"),
        ("Message{a: 1} == 1", "no message type"),
    ] {
        let error = Cel::parse(source)
            .and_then(|cel| cel.check(&names()))
            .expect_err(source);
        assert!(error.contains(why), "{source} gave {error}");
    }
    assert!(Cel::parse(&format!("status == {}", "1".repeat(MAX_CEL))).is_err());
}

#[test]
fn a_column_that_no_row_has_is_found_where_the_data_are_known() {
    let mut names = names();
    let check = |names: &Names, source: &str| Cel::parse(source).unwrap().check(names);
    assert_eq!(
        check(&names, "feeders.texts.txet == ''"),
        Ok(()),
        "nobody knows yet"
    );
    let columns = Columns {
        names: ["text".to_owned()].into(),
        is_secret: false,
    };
    names.declare_columns(2, Arc::new(columns));
    for source in [
        "feeders.texts.txet == ''",
        "feeders.texts['txet'] == ''",
        "has(feeders.texts.txet)",
    ] {
        assert_eq!(
            check(&names, source).unwrap_err(),
            "feeders.texts has no column \"txet\"; it has text",
            "{source}"
        );
    }
    for source in [
        "feeders.texts.text == ''",
        "size(feeders.texts) == 1",
        "feeders.texts.text.size() > 1",
    ] {
        assert_eq!(check(&names, source), Ok(()), "{source}");
    }
}

#[test]
fn no_depth_runs_out_of_stack() {
    let times = |part: &str, count: usize| part.repeat(count);
    for (begin, middle, end) in [
        ("(", "true", ")"),
        ("[", "true", "]"),
        ("[", "", ""),
        ("!", "true", ""),
        ("-", "1", ""),
        ("int(", "1", ")"),
        ("[1].map(x,", "1", ")"),
    ] {
        for count in [10, 30, 90, 500] {
            let _outcome = Cel::parse(&format!(
                "{}{middle}{}",
                times(begin, count),
                times(end, count)
            ));
        }
    }
    for (first, more) in [
        ("json", ".a"),
        ("json", "[0]"),
        ("body", ".trim()"),
        ("1", " + 1"),
        ("true", " && true"),
        ("1", " == 1"),
        ("", "true ? 1 : "),
    ] {
        for count in [10, 24, 90, 250] {
            if let Ok(cel) = Cel::parse(&format!("{first}{}", times(more, count))) {
                let _outcome = cel
                    .compile(&names())
                    .unwrap()
                    .is_true(Some(&Answered(Ok(json!({})))), &Fixed::default());
            }
        }
    }
    assert!(
        Cel::parse(&format!("1{}", " + 1".repeat(90)))
            .unwrap_err()
            .contains("nested more than")
    );
    let maps = format!("{}1{} == [1]", times("[1].map(x, ", 4), times(")", 4));
    assert_eq!(evaluated(&maps), Ok(false));
}

#[test]
fn what_goes_wrong_at_run_time_is_said_without_a_value() {
    for (source, why) in [
        ("json.nothing == 1", "there is no \"nothing\""),
        ("vars.unset == 1", "there is no \"unset\""),
        ("json.t", "type string, not true or false"),
        ("1 / (json.n - 3) == 1", "divided by 0"),
        ("1 % (json.n - 3) == 1", "divided by 0"),
        ("9223372036854775807 + json.n == 0", "beyond 64 bits"),
        ("-(-9223372036854775807 - 1) == json.n", "beyond 64 bits"),
        (
            "(-9223372036854775807 - 1) / (json.n - 4) == 1",
            "beyond 64 bits",
        ),
        ("(-9223372036854775807 - 1) % (json.n - 4) == 1", ""),
        ("json.items[7].ok", "beyond the end"),
        ("json.items[-1].ok", "beyond the end"),
        ("json.n + json.t == 1", "does not fit"),
        ("json.n + json.f == 4.5", "does not fit"),
        ("json.t < json.n", "no matching overload"),
        ("int(json.t) == 1", "int() cannot do that"),
        ("int(json.f * 1e300) == 1", "int() cannot do that"),
        ("json.t.matches('(')", "matches() cannot do that"),
        ("json.t.substring(5) == ''", "substring() cannot do that"),
        ("json.n.exists(x, x)", "iterable"),
        ("size(json.n) == 1", "no matching overload"),
    ] {
        match evaluated(source) {
            Err(error) => assert!(
                error.contains(why) && error.len() < 200 && !error.contains("t-1"),
                "{source} gave {error}"
            ),
            Ok(truth) => panic!("{source} gave {truth}"),
        }
    }
}

#[test]
fn without_an_answer_only_what_asks_for_it_fails() {
    let values = Fixed::of([Some(json!(1)), None, None]);
    assert_eq!(
        compiled("status == 200").is_true(None, &values),
        Err(EvaluationError::NoValue("there is no answer yet".into()))
    );
    assert_eq!(
        compiled("vars.token == 1 && iteration == 3 && user.id == 7").is_true(None, &values),
        Ok(true)
    );
}

#[test]
fn a_body_that_is_no_json_fails_only_what_asks_for_json() {
    let values = Fixed::of([None, None, None]);
    let broken = Answered(Err("the body is not JSON"));
    assert_eq!(
        compiled("json.a == 1").is_true(Some(&broken), &values),
        Err(EvaluationError::NoValue("the body is not JSON".into()))
    );
    assert_eq!(
        compiled("status == 201").is_true(Some(&broken), &values),
        Ok(true)
    );
}

#[test]
fn an_expression_sees_the_answer_and_the_users_values() {
    for source in [
        "status == 201 && status in [200, 201]",
        "headers['content-type'].startsWith('application/') && headers.vary == 'a, b'",
        "!('x-none' in headers)",
        "body.startsWith('text') && size(body) == 6",
        "json.n == 3 && json.n == 3.0 && json.f > 1 && json.n < vars.limit",
        "json.deep == {'a': {'b': 1}} && json.deep.a.b == 1 && json['deep']['a'].b == 1",
        "has(json.deep.a) && !has(json.deep.c) && !has(json.c)",
        "json.items.exists(x, x.ok) && !json.items.all(x, x.ok) && json.items.filter(x, x.ok).size() == 1",
        "json.items.map(i, i.ok)[1] == false",
        "json.items.exists(status, status.ok)",
        "latency > 2.4 && latency < 2.6",
        "vars.token.replace('-', '') == 't1' && vars['limit'] == 5",
        "feeders.texts.text == 'row' && feeders.texts.size() == 1",
        "type(json.n) == int && type(json.f) == double && type(json.t) == string && type(json.items) == list",
        "iteration + user.id == 10 && string(json.n) + 'x' == '3x' && json.t.upperAscii() == 'X'",
        "has(vars.unset) || vars.limit == 5",
        "json == json",
    ] {
        assert_eq!(evaluated(source), Ok(true), "{source}");
    }
}

#[test]
fn a_number_is_any_finite_number() {
    let answer = Answered(Ok(json!({"n": 3, "f": 0.5, "big": u64::MAX, "t": "3"})));
    let values = Fixed::default();
    let number = |source: &str| {
        Cel::parse(source)
            .unwrap()
            .compile(&Names::default())
            .unwrap()
            .number(Some(&answer), &values)
    };
    assert_eq!(number("json.n"), Ok(3.0));
    assert_eq!(number("json.f * 1000.0"), Ok(500.0));
    assert_eq!(number("json.big"), Ok(u64::MAX as f64));
    assert!(number("json.t").is_err());
    assert!(number("json.f / 0.0").is_err());
}

#[test]
fn only_what_is_asked_for_must_be_kept() {
    let answer_parts = |source: &str| Cel::parse(source).unwrap().answer_parts();
    assert_eq!(
        answer_parts("status == 200 && latency < 5.0"),
        AnswerParts::default()
    );
    assert_eq!(
        answer_parts("json.a == 1"),
        AnswerParts {
            headers: false,
            body: true
        }
    );
    assert_eq!(
        answer_parts("headers.a == body"),
        AnswerParts {
            headers: true,
            body: true
        }
    );
    assert_eq!(
        compiled("feeders.texts.text == ''").needs(),
        [Need {
            slot: 2,
            take: None
        }]
    );
}

#[test]
fn long_chains_are_not_deep() {
    let many = vec!["status == 200"; 40].join(" || ");
    assert_eq!(evaluated(&format!("{many} || status == 201")), Ok(true));
}

#[test]
fn an_expression_is_its_source_in_json() {
    let cel = Cel::parse("json.a == 1").unwrap();
    assert_eq!(
        serde_json::from_value::<Cel>(serde_json::to_value(&cel).unwrap()).unwrap(),
        cel
    );
    assert!(serde_json::from_value::<Cel>(json!("a ==")).is_err());
}

fn expressions() -> impl Strategy<Value = String> {
    let atom = prop::sample::select(vec![
        "json",
        "json.n",
        "json.f",
        "json.t",
        "json.items",
        "json.deep",
        "status",
        "latency",
        "body",
        "headers",
        "vars.token",
        "0",
        "1u",
        "-1",
        "1.5",
        "'a'",
        "b'a'",
        "null",
        "true",
        "[]",
        "{}",
        "9223372036854775807",
        "type(json)",
    ])
    .prop_map(str::to_owned);
    atom.prop_recursive(4, 24, 2, |inner| {
        let operators = vec!["+", "-", "*", "/", "%", "==", "<", ">=", "&&", "||", "in"];
        let functions = vec![
            "size", "int", "double", "string", "uint", "bool", "bytes", "type",
        ];
        let members = vec![
            "contains",
            "matches",
            "split",
            "indexOf",
            "charAt",
            "substring",
            "format",
            "join",
            "startsWith",
        ];
        prop_oneof![
            (
                inner.clone(),
                prop::sample::select(operators),
                inner.clone()
            )
                .prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
            (prop::sample::select(functions), inner.clone())
                .prop_map(|(function, a)| format!("{function}({a})")),
            (inner.clone(), prop::sample::select(members), inner.clone())
                .prop_map(|(a, member, b)| format!("({a}).{member}({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}).map(x, {b})")),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| format!("({a} ? {b} : x)").replace('x', "1")),
            inner.prop_map(|a| format!("!({a})")),
        ]
    })
}

proptest! {
    #[test]
    fn no_program_panics(source in expressions()) {
        if let Ok(cel) = Cel::parse(&source) {
            let compiled = cel.compile(&names()).unwrap();
            let answer = Answered(Ok(json!({"n": 3, "f": 1.5, "t": "é", "items": [1, "a"], "deep": {"a": null}})));
            let outcome = compiled.is_true(Some(&answer), &Fixed::of([Some(json!("t")), None, None]));
            prop_assert_ne!(outcome, Err(EvaluationError::NoValue("the CEL interpreter gave up".into())));
        }
    }

    #[test]
    fn arbitrary_text_never_panics(source in ".{0,60}") {
        let _outcome = Cel::parse(&source);
    }
}

/// Steps that an expression takes over an answer with a list of `items` numbers, or its error.
fn steps_over(items: usize, source: &str) -> Result<usize, String> {
    let answer = Answered(Ok(json!({
        "list": (0..items).collect::<Vec<_>>(),
        "text": "x".repeat(items),
    })));
    let cel = Cel::parse(source).and_then(|cel| cel.compile(&names()));
    let truth = cel.unwrap().is_true(Some(&answer), &Fixed::of([]));
    match truth {
        Ok(_) => Ok(steps::taken()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn lists_within_lists_take_steps_until_none_is_left() {
    let once = steps_over(100, "json.list.all(a, a >= 0)").unwrap();
    assert!((500..2_000).contains(&once), "{once}");
    let twice = steps_over(100, "json.list.all(a, json.list.all(b, b >= 0))").unwrap();
    assert!(twice > 50 * once, "{twice}");
    for nested in [
        "json.list.all(a, json.list.all(b, json.list.all(c, a + b + c >= 0)))",
        "json.list.map(a, json.list.map(b, json.list.map(c, a))).size() > 0",
        "json.list.filter(a, json.list.exists(b, json.list.exists(c, c < 0))).size() == 0",
        "json.list.exists_one(a, json.list.exists_one(b, json.list.exists_one(c, c == 1)))",
        "json.list.map(a, json.list).map(b, json.list.map(c, b)).size() > 0",
        "[1,2,3,4,5,6,7,8].all(a, json.list.all(b, json.list.map(c, json.list).size() > 0))",
    ] {
        let error = steps_over(300, nested).expect_err(nested);
        assert!(
            error.contains("more than 1000000 steps"),
            "{nested}: {error}"
        );
    }
}

#[test]
fn what_has_used_up_its_steps_is_an_error_whatever_is_made_of_it() {
    let nested = "json.list.all(a, json.list.all(b, json.list.all(c, c >= 0)))";
    for absorbing in [
        format!("{nested} || true"),
        format!("false && {nested} ? true : true").replace("false && ", "true && "),
        format!("json.list.exists(x, {nested} || true)"),
        format!("!({nested}) || status == 201"),
    ] {
        assert!(steps_over(300, &absorbing).is_err(), "{absorbing}");
    }
    assert!(steps_over(300, &format!("true || {nested}")).is_ok());
}

#[test]
fn texts_and_lists_that_double_take_steps_until_none_is_left() {
    let doubled = |what: &str, times: usize| {
        let double = ".map(x, x + x)".repeat(times);
        format!("[{what}]{double}[0].size() > 0")
    };
    assert!(steps_over(1_000, &doubled("json.text", 3)).is_ok());
    for (what, times) in [("json.text", 7), ("json.list", 7)] {
        let error = steps_over(200_000, &doubled(what, times)).unwrap_err();
        assert!(error.contains("steps"), "{error}");
    }
}

#[test]
fn functions_whose_work_is_a_product_count_it_before_they_begin() {
    for product in [
        "json.text.replace('x', json.text).size() > 0",
        "json.text.replace('', json.text).size() > 0",
        "json.text.indexOf(json.text + 'y') < 0",
        "json.text.lastIndexOf('y' + json.text) < 0",
        "json.list.map(x, 'x').join(json.text).size() > 0",
        "json.list.exists(x, json.text.matches('(x?){30}y'))",
        "json.list.exists(x, json.text.split('').size() == 1)",
        "json.list.exists(x, json.list == json.list + [1])",
        "json.list.exists(x, -1 in json.list)",
        "json.list.exists(x, json.text.reverse() == 'y')",
        "json.list.exists(x, '%s'.format([json.list]) == 'y')",
    ] {
        let error = steps_over(30_000, product).expect_err(product);
        assert!(
            error.contains("more than 1000000 steps"),
            "{product}: {error}"
        );
    }
    for small in [
        "json.text.replace('x', 'y').size() == 30000",
        "json.text.indexOf('xx') == 0",
        "json.text.matches('^x+$')",
        "['a', 'b'].join(', ') == 'a, b'",
        "json.text.lastIndexOf('x') == 29999",
        "json.list.exists(x, x == 7)",
    ] {
        assert!(steps_over(30_000, small).is_ok(), "{small}");
    }
    assert!(steps_over(1, "'x'.matches('(.{1000}){1000}')").is_err());
    assert!(steps_over(1, "'x'.matches('(')").is_err());
    let not_text = steps_over(1, "json.list.replace('x', 'y') == ''").unwrap_err();
    assert!(!not_text.contains('@'), "{not_text}");
}

#[test]
fn an_answer_that_is_too_large_to_be_read_takes_too_many_steps() {
    assert!(steps_over(900_000, "json.list.size() > 1").is_err());
    assert!(steps_over(900_000, "json.text.size() > 1").is_ok());
    assert!(steps_over(200_000, "json.list.size() > 1").is_ok());
}
