//! Specs that are written to stop whoever checks them: each is refused or accepted within the
//! bounds of a check.

use std::fmt::Write;

use serde_json::{Map, Value, json};

/// Outcome that a check must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Refused, with a field path that begins so.
    Refused(&'static str),
    /// Refused or accepted: it is only unusual.
    Either,
}

use Fate::{Either, Refused};

/// A spec, its name, which is also one of a LoadTest, and its fate.
pub type Hostile = (String, Value, Fate);

const STEPS: &str = "spec.scenarios[0].tasks[0].steps";

/// Returns the whole corpus.
pub fn corpus() -> Vec<Hostile> {
    let parts = [
        variables(),
        templates(),
        feeders(),
        patterns(),
        expressions(),
        paths(),
        calls(),
        nesting(),
        counts(),
        numbers(),
    ];
    parts.into_iter().flatten().collect()
}

/// Returns a small spec that is accepted, and makes no load until it is released.
pub fn plain() -> Value {
    json!({
        "target": {"url": "http://127.0.0.1:9"},
        "scenarios": [{
            "name": "s",
            "tasks": [{"name": "t", "steps": [{"name": "p", "http": {"path": "/"}}]}],
        }],
        "load": {"closed": {"users": 1, "duration": "1s"}},
        "run": {"suspend": true},
    })
}

fn hostile(name: &str, fate: Fate, change: impl FnOnce(&mut Value)) -> Hostile {
    let mut spec = plain();
    change(&mut spec);
    (name.to_owned(), spec, fate)
}

fn steps(spec: &mut Value) -> &mut Value {
    &mut spec["scenarios"][0]["tasks"][0]["steps"]
}

fn step(spec: &mut Value) -> &mut Value {
    &mut steps(spec)[0]
}

/// Gives the one step this body.
fn body(spec: &mut Value, text: String) {
    step(spec)["http"] = json!({"method": "POST", "path": "/", "body": text});
}

/// Variables `v0` to `v<count>`, each made of its number.
fn numbered(count: usize, value: impl Fn(usize) -> Value) -> Value {
    let variables: Map<String, Value> = (0..count).map(|i| (format!("v{i}"), value(i))).collect();
    variables.into()
}

fn nested(depth: usize, inner: Value, wrap: impl Fn(Value) -> Value) -> Value {
    (0..depth).fold(inner, |value, _| wrap(value))
}

fn variables() -> Vec<Hostile> {
    let mut all = Vec::new();
    for (name, first, next) in [
        ("text", json!("x".repeat(64)), "{{ V }}{{ V }}"),
        ("list", json!([1, 2, 3, 4]), "[V]"),
        (
            "encoded",
            json!("\"".repeat(64)),
            "{{ jsonEncode(jsonEncode(jsonEncode(V))) }}",
        ),
        (
            "escaped",
            json!("%".repeat(64)),
            "{{ urlEncode(urlEncode(urlEncode(V))) }}",
        ),
        (
            "base64",
            json!("x".repeat(64)),
            "{{ base64(base64(base64(base64(V)))) }}",
        ),
    ] {
        all.push(hostile(
            &format!("doubling-{name}"),
            // percent-encoding twice adds little to what is encoded
            if name == "escaped" {
                Either
            } else {
                Refused("spec.variables.")
            },
            |spec| {
                spec["variables"] = numbered(45, |i| match (i, next) {
                    (0, _) => first.clone(),
                    (i, "[V]") => {
                        let before = format!("{{{{ v{} }}}}", i - 1);
                        json!([before, before, before])
                    }
                    (i, next) => json!(next.replace('V', &format!("v{}", i - 1))),
                });
            },
        ));
    }
    all.push(hostile("chain", Refused("spec.variables."), |spec| {
        spec["variables"] = numbered(5_000, |i| json!(format!("{{{{ v{} }}}}", i + 1)));
        spec["variables"]["v5000"] = json!("end");
    }));
    all.push(hostile("circle", Refused("spec.variables."), |spec| {
        spec["variables"] = numbered(3_000, |i| json!(format!("{{{{ v{} }}}}", (i + 1) % 3_000)));
    }));
    all.push(hostile("strangers", Refused("spec.variables."), |spec| {
        spec["variables"] = numbered(6_000, |i| json!(format!("{{{{ w{i} }}}}")));
    }));
    all.push(hostile("doubling-at-random", Either, |spec| {
        spec["variables"] = numbered(45, |i| match i {
            0 => json!("{{ uuid() }}"),
            i => json!(format!("{{{{ v{} }}}}{{{{ v{} }}}}", i - 1, i - 1)),
        });
    }));
    all.extend(large_variables());
    all
}

/// Variables of 60 KB, and templates that name them again and again.
fn large_variables() -> Vec<Hostile> {
    let text = json!("x".repeat(60_000));
    let list = json!(vec![0; 30_000]);
    let mut all = Vec::new();
    for (name, value, expression, fate) in [
        ("whole", &text, "{{ v }}", Refused(STEPS)),
        ("length", &text, "{{ length(v) }}", Refused(STEPS)),
        ("digest", &text, "{{ hmacSha256(v, v) }}", Refused(STEPS)),
        (
            "decoded",
            &json!(list.to_string()),
            "{{ length(jsonDecode(v)) }}",
            Refused(STEPS),
        ),
        ("picked", &list, "{{ pick(v) }}", Refused(STEPS)),
        ("letters", &text, "{{ randString(1, v) }}", Refused(STEPS)),
        ("item", &list, "{{ v[29999] }}", Either),
        (
            "many",
            &list,
            "{{ pick(v, v, v, v, v, v, v, v, v, v, v, v, user.id) }}",
            Refused(STEPS),
        ),
        (
            "dynamic",
            &text,
            "{{ base64(pick(v, user.id)) }}",
            Refused(STEPS),
        ),
    ] {
        all.push(hostile(&format!("large-{name}"), fate, |spec| {
            spec["variables"] = json!({"v": value});
            body(spec, expression.repeat(60_000 / expression.len()));
        }));
        all.push(hostile(&format!("large-{name}-apart"), Either, |spec| {
            spec["variables"] = json!({"v": value});
            let headers = (0..3_000).map(|i| (format!("x-{i}"), json!(expression)));
            step(spec)["http"]["headers"] = Value::Object(headers.collect());
        }));
    }
    all
}

fn templates() -> Vec<Hostile> {
    let mut all = Vec::new();
    for (name, text, fate) in [
        ("open", "{{ ".repeat(20_000), Refused(STEPS)),
        (
            "unclosed",
            format!("{{{{ {}", "a.".repeat(20_000)),
            Refused(STEPS),
        ),
        (
            "calls",
            format!(
                "{{{{ {}1{} }}}}",
                "string(".repeat(5_000),
                ")".repeat(5_000)
            ),
            Refused(STEPS),
        ),
        (
            "arguments",
            format!("{{{{ pick({}1) }}}}", "1,".repeat(25_000)),
            Either,
        ),
        (
            "fields",
            format!("{{{{ user{} }}}}", ".id".repeat(15_000)),
            Refused(STEPS),
        ),
        ("uuids", "{{uuid()}}".repeat(6_000), Either),
        (
            "quotes",
            format!("{{{{ \"{}\" }}}}", "\\\\".repeat(30_000)),
            Either,
        ),
        (
            "strftime",
            format!("{{{{ now('{}') }}}}", "%A".repeat(25_000)),
            Either,
        ),
        ("width", "{{ now('%9999999999Y') }}".to_owned(), Either),
        (
            "long-string",
            "{{ randString(9223372036854775807) }}".to_owned(),
            Refused(STEPS),
        ),
        (
            "digits",
            format!("{{{{ {} }}}}", "9".repeat(60_000)),
            Either,
        ),
        (
            "exponent",
            "{{ mul(1e308, 1e308) }}".to_owned(),
            Refused(STEPS),
        ),
        (
            "smallest",
            "{{ mod(-9223372036854775808, -1) }}".to_owned(),
            Refused(STEPS),
        ),
        (
            "range",
            "{{ randInt(-9223372036854775808, 9223372036854775807) }}".to_owned(),
            Either,
        ),
        (
            "decoding",
            format!("{{{{ jsonDecode('{}') }}}}", "[".repeat(50_000)),
            Refused(STEPS),
        ),
    ] {
        all.push(hostile(&format!("template-{name}"), fate, |spec| {
            body(spec, text)
        }));
    }
    for (name, open, close) in [
        ("one", "x", "x"),
        ("space", "  ", "  "),
        ("quote", "'''", "'''"),
    ] {
        all.push(hostile(&format!("delimiters-{name}"), Either, |spec| {
            spec["templateDelimiters"] = json!({"open": open, "close": close});
            body(spec, open.repeat(10_000));
        }));
    }
    all
}

fn feeders() -> Vec<Hostile> {
    let inline = |rows: Vec<Value>| json!([{"name": "f", "inline": rows}]);
    vec![
        hostile("rows", Either, |spec| {
            spec["feeders"] = inline(vec![json!({"a": 1}); 20_000])
        }),
        hostile("columns", Refused(STEPS), |spec| {
            let rows = (0..5_000).map(|i| json!({format!("c{i}"): 1}));
            spec["feeders"] = inline(rows.collect());
            body(spec, "{{ f.none }}".repeat(1_000));
        }),
        hostile("feeders", Refused("spec.feeders"), |spec| {
            let feeders =
                (0..2_500).map(|i| json!({"name": format!("f{i}"), "inline": [{"a": 1}]}));
            spec["feeders"] = feeders.collect();
        }),
        hostile("same-feeders", Refused("spec.feeders"), |spec| {
            spec["feeders"] = vec![json!({"name": "f", "inline": [{"a": 1}]}); 2_500].into();
        }),
        hostile("takes", Either, |spec| {
            spec["feeders"] = inline(vec![json!({"a": 1})]);
            body(spec, "{{ f.take(10000) }}".repeat(3_000));
        }),
        hostile("deep-row", Either, |spec| {
            spec["feeders"] = inline(vec![nested(100, json!(1), |inner| json!([inner]))]);
        }),
        hostile("csv-columns", Either, |spec| {
            let columns: Vec<String> = (0..20_000).map(|i| format!("c{i}")).collect();
            let csv = json!({"configMapKeyRef": {"name": "x", "key": "y"}, "columns": columns});
            spec["feeders"] = json!([{"name": "f", "csv": csv}]);
        }),
    ]
}

/// Gives each of many steps many extracts of this kind, all different.
fn extracting(
    spec: &mut Value,
    steps_with: usize,
    each: usize,
    kind: &str,
    source: impl Fn(usize) -> String,
) {
    let step = |s: usize| {
        let extracts = (0..each).map(|i| {
            let nth = s * each + i;
            (format!("x{nth}"), json!({kind: source(nth)}))
        });
        let extracts: Map<String, Value> = extracts.collect();
        json!({"name": format!("p{s}"), "http": {"path": "/"}, "extract": extracts})
    };
    *steps(spec) = (0..steps_with).map(step).collect();
}

fn patterns() -> Vec<Hostile> {
    let mut all = Vec::new();
    for (name, pattern) in [
        ("megabyte", "N(?:[a-z0-9_.-]{1,60}[^a-z]{1,60}){1,9}"),
        ("unicode", "N\\w{10}\\W{10}\\w{4}"),
        ("classes", "N[\\p{L}\\p{N}]{20}"),
        ("alternatives", "N(a|b|c|d|e|f|g|h|i|j){90}"),
        ("counted", "N((a{1,20}){1,20}){1,5}"),
    ] {
        all.push(hostile(&format!("regex-{name}"), Either, |spec| {
            extracting(spec, 150, 20, "regex", |i| {
                pattern.replace('N', &i.to_string())
            });
        }));
    }
    all.push(hostile(
        "regex-3200-of-a-megabyte",
        Refused(STEPS),
        |spec| {
            extracting(spec, 160, 20, "regex", |i| {
                format!("[a-z]{{{}}}\\pL{{99}}", 2_000 + i % 99)
            });
        },
    ));
    for (name, pattern) in [
        ("one-too-large", "((a{1,100}){1,100}){1,100}".to_owned()),
        (
            "parentheses",
            format!("{}a{}", "(".repeat(250), ")".repeat(250)),
        ),
        ("brackets", "[".repeat(500)),
        ("case", format!("(?i){}", "\u{212a}".repeat(150))),
        ("empty", "(|)*".repeat(100)),
        ("repeated", "a{0}{1000}{1000}".to_owned()),
    ] {
        all.push(hostile(&format!("regex-{name}"), Either, |spec| {
            extracting(spec, 1, 1, "regex", |_| pattern.clone());
        }));
    }
    all
}

fn expressions() -> Vec<Hostile> {
    let chained = |part: &str, with: &str, count: usize| vec![part; count].join(with);
    let mut all = Vec::new();
    for (name, expression, fate) in [
        (
            "parentheses",
            format!("{}true{}", "(".repeat(500), ")".repeat(500)),
            Refused(STEPS),
        ),
        (
            "lists",
            format!("{}{} == 1", "[".repeat(500), "]".repeat(500)),
            Refused(STEPS),
        ),
        (
            "maps",
            format!("{}1{} == 1", "{1:".repeat(240), "}".repeat(240)),
            Refused(STEPS),
        ),
        ("negations", format!("{}true", "!".repeat(1_000)), Either),
        ("minuses", format!("{}1 == 1", "-".repeat(1_000)), Either),
        ("or", chained("true", "||", 160), Either),
        ("sum", format!("{} == 1", chained("1", "+", 500)), Either),
        (
            "indices",
            format!("json{} == 1", "[0]".repeat(300)),
            Refused(STEPS),
        ),
        (
            "fields",
            format!("json{} == 1", ".a".repeat(500)),
            Refused(STEPS),
        ),
        (
            "conditions",
            format!("{}true", "true?true:".repeat(90)),
            Refused(STEPS),
        ),
        (
            "macros",
            format!("{}true{}", "[1].all(x,".repeat(60), ")".repeat(60)),
            Refused(STEPS),
        ),
        (
            "in-a-row",
            format!("[1]{}.size() > 0", ".map(x,[x,x])".repeat(60)),
            Refused(STEPS),
        ),
        (
            "text",
            format!("body == '{}'", "\\u0000".repeat(150)),
            Either,
        ),
        ("broken", "\u{0}\u{202e}'".repeat(100), Refused(STEPS)),
        (
            "number",
            format!("status == {}", "9".repeat(900)),
            Refused(STEPS),
        ),
        (
            "timestamp",
            "timestamp('9999-99-99') > timestamp('')".to_owned(),
            Either,
        ),
        (
            "vars",
            format!("vars.{} == 1", "a".repeat(900)),
            Refused(STEPS),
        ),
    ] {
        all.push(hostile(&format!("cel-{name}"), fate, |spec| {
            step(spec)["if"] = json!(expression)
        }));
    }
    let many = |spec: &mut Value, each: usize, expression: &str| {
        let step = |s: usize| {
            let checks = vec![json!({"cel": expression}); each];
            json!({"name": format!("p{s}"), "http": {"path": "/"}, "checks": checks})
        };
        *steps(spec) = (0..200).map(step).collect();
    };
    all.push(hostile("cel-many", Either, |spec| {
        many(spec, 20, "json.all(x, x.all(y, y > 0))")
    }));
    all.push(hostile("cel-many-long", Refused(STEPS), |spec| {
        let long = format!("status in [{}]", vec!["1"; 450].join(","));
        many(spec, 1, &long);
    }));
    all
}

fn paths() -> Vec<Hostile> {
    let mut all = Vec::new();
    for (name, path) in [
        (
            "filters",
            format!("${}{}", "[?@".repeat(120), "]".repeat(120)),
        ),
        (
            "parentheses",
            format!("$[?{}@{}]", "(".repeat(240), ")".repeat(240)),
        ),
        ("negated", format!("$[?{}@]", "!".repeat(400))),
        (
            "negated-groups",
            format!("$[?{}@{}]", "!(".repeat(7), ")".repeat(7)),
        ),
        ("descendants", format!("${}", "..*".repeat(170))),
        ("selectors", format!("$[{}*]", "*,".repeat(240))),
        ("index", "$[99999999999999999999]".to_owned()),
        (
            "slice",
            "$[-9007199254740991:9007199254740991:-9007199254740991]".to_owned(),
        ),
        (
            "functions",
            format!("$[?{}@{} > 1]", "count(".repeat(70), ")".repeat(70)),
        ),
        ("groups", format!("$[?{}@.a]", "(@.a)&&".repeat(65))),
        (
            "pattern",
            "$[?match(@.a, '((a{1,100}){1,100}){1,100}')]".to_owned(),
        ),
        ("any-pattern", "$..[?search(@, @.b)]".to_owned()),
        ("escapes", format!("$['{}']", "\\ud83d\\ude00".repeat(40))),
        ("or", format!("$[?{}@.a]", "@.a||".repeat(95))),
    ] {
        all.push(hostile(&format!("path-{name}"), Either, |spec| {
            extracting(spec, 1, 1, "jsonPath", |_| path.clone());
        }));
        all.push(hostile(&format!("path-{name}-often"), Either, |spec| {
            let each = (200_000 / (path.len() + 40)).min(3_000) / 100;
            extracting(spec, 100, each.max(1), "jsonPath", |_| path.clone());
        }));
    }
    all
}

fn calls() -> Vec<Hostile> {
    let call =
        |message: Value| json!({"name": "p", "grpc": {"method": "a.B/C", "message": message}});
    vec![
        hostile("grpc-deep", Either, |spec| {
            *step(spec) = call(nested(
                110,
                json!("{{ user.id }}"),
                |inner| json!({"a": inner}),
            ));
        }),
        hostile("grpc-wide", Either, |spec| {
            *step(spec) = call(vec![json!("{{ uuid() }}"); 4_000].into());
        }),
        hostile("grpc-method", Either, |spec| {
            *step(spec) = json!({"grpc": {"method": "a.".repeat(50_000) + "/C", "message": {}}});
        }),
        hostile("grpc-constants", Either, |spec| {
            spec["variables"] = json!({"v": "x".repeat(60_000)});
            *step(spec) = call(vec![json!("{{ v }}"); 5_000].into());
        }),
        hostile("protos-many", Either, |spec| {
            let maps = (0..5_000).map(|i| json!({"name": format!("m{i}")}));
            spec["protos"] = json!({"configMaps": maps.collect::<Vec<_>>()});
        }),
        hostile("protos-paths", Either, |spec| {
            let items =
                (0..2_000).map(|i| json!({"key": "k", "path": "../".repeat(10) + &i.to_string()}));
            spec["protos"] =
                json!({"configMaps": [{"name": "m", "items": items.collect::<Vec<_>>()}]});
        }),
        hostile("protos-files", Either, |spec| {
            spec["protos"] = json!({"files": vec!["/".repeat(100); 2_000]});
        }),
    ]
}

fn nesting() -> Vec<Hostile> {
    let blocks =
        |spec: &mut Value, count: usize, calls: usize, called: fn(usize, usize) -> usize| {
            let block = |i: usize| {
                let steps = (0..calls).map(|_| json!({"call": format!("b{}", called(i, count))}));
                json!({"name": format!("b{i}"), "steps": steps.collect::<Vec<_>>()})
            };
            spec["scenarios"][0]["blocks"] = (0..count).map(block).collect();
            step(spec)["call"] = json!("b0");
            step(spec).as_object_mut().unwrap().remove("http");
        };
    vec![
        hostile("blocks-in-a-chain", Refused("spec.scenarios"), |spec| {
            blocks(spec, 1_500, 1, |i, count| (i + 1).min(count - 1));
        }),
        hostile(
            "blocks-in-a-circle",
            Refused("spec.scenarios[0].blocks"),
            |spec| {
                blocks(spec, 400, 1, |i, count| (i + 1) % count);
            },
        ),
        hostile("blocks-that-multiply", Either, |spec| {
            blocks(spec, 4, 450, |i, count| (i + 1).min(count - 1));
        }),
        hostile("deep-body", Either, |spec| {
            let deep = nested(115, json!("{{ user.id }}"), |inner| json!([inner]));
            step(spec)["http"] = json!({"method": "POST", "path": "/", "json": deep});
        }),
        hostile("deep-condition", Either, |spec| {
            let deep = nested(110, json!(1), |inner| json!({"a": inner}));
            step(spec)["checks"] = json!([{"jsonPath": "$", "equals": deep}]);
        }),
        hostile("deep-keys", Either, |spec| {
            let key = "k".repeat(1_500);
            spec["variables"] = json!({"v": nested(40, json!(1), |inner| json!({&key: inner}))});
        }),
        hostile("templates-in-keys", Refused(STEPS), |spec| {
            let fields = (0..2_000).map(|i| (format!("{{{{ a }}}}{i}"), json!(1)));
            let fields: Map<String, Value> = fields.collect();
            step(spec)["http"] = json!({"method": "POST", "path": "/", "json": fields});
        }),
        hostile("wide-body", Either, |spec| {
            let wide = vec![json!("{{ seq() }}"); 4_500];
            step(spec)["http"] = json!({"method": "POST", "path": "/", "json": wide});
        }),
    ]
}

fn counts() -> Vec<Hostile> {
    let named = |count: usize, make: &dyn Fn(String) -> Value| -> Value {
        (0..count).map(|i| make(format!("n{i}"))).collect()
    };
    vec![
        hostile("steps", Refused("spec.scenarios"), |spec| {
            *steps(spec) = named(2_500, &|name| json!({"name": name, "http": {"path": "/"}}));
        }),
        hostile("pauses", Refused("spec.scenarios"), |spec| {
            *steps(spec) = vec![json!({"pause": "1s"}); 9_000].into();
        }),
        hostile("tasks", Either, |spec| {
            spec["scenarios"][0]["tasks"] = named(
                3_000,
                &|name| json!({"name": name, "steps": [{"pause": "1s"}]}),
            );
        }),
        hostile("scenarios", Either, |spec| {
            spec["scenarios"] = named(
                1_500,
                &|name| json!({"name": name, "tasks": [{"name": "t", "steps": [{"pause": "1s"}]}]}),
            );
        }),
        hostile("names-by-steps", Either, |spec| {
            spec["variables"] = numbered(6_000, |_| json!(1));
            *steps(spec) =
                vec![json!({"pause": "1s", "forEach": {"in": "[1]", "as": "i"}}); 1_500].into();
        }),
        hostile("targets", Either, |spec| {
            let targets =
                (0..3_000).map(|i| (format!("t{i}"), json!({"url": "http://127.0.0.1:9"})));
            spec["targets"] = Value::Object(targets.collect());
            step(spec)["target"] = json!("nobody");
        }),
        hostile("stages", Either, |spec| {
            let stages = vec![json!({"duration": "1ms", "target": 1}); 6_000];
            spec["load"] = json!({"closed": {"stages": stages}});
        }),
        hostile("thresholds", Either, |spec| {
            spec["thresholds"] =
                vec![json!({"metric": "latency", "expr": "p(99.999) < 1s"}); 4_000].into();
        }),
        hostile("headers", Either, |spec| {
            let headers = (0..9_000).map(|i| (format!("x-{i}"), json!("{{ user.id }}")));
            spec["target"]["headers"] = Value::Object(headers.collect());
        }),
        hostile("mistakes", Refused(STEPS), |spec| {
            let headers = (0..9_000).map(|i| (format!("x-{i}"), json!("{{ a }}")));
            step(spec)["http"]["headers"] = Value::Object(headers.collect());
        }),
        hostile("names-and-mistakes", Refused(STEPS), |spec| {
            spec["variables"] = numbered(6_000, |_| json!(1));
            let headers = (0..4_000).map(|i| (format!("x-{i}"), json!("{{ a }}")));
            step(spec)["http"]["headers"] = Value::Object(headers.collect());
        }),
        hostile("too-large", Refused("spec"), |spec| {
            body(spec, "x".repeat(400_000))
        }),
        hostile("long-names", Either, |spec| {
            let mut name = String::new();
            for i in 0..20_000 {
                // cannot fail: it writes to memory
                let _ = write!(name, "{i}");
            }
            spec["scenarios"][0]["name"] = json!(name);
        }),
    ]
}

fn numbers() -> Vec<Hostile> {
    let mut all = Vec::new();
    for (name, value) in [
        ("most", json!(u64::MAX)),
        ("least", json!(i64::MIN)),
        ("beyond", json!(1e308)),
        ("tiny", json!(5e-324)),
    ] {
        all.push(hostile(&format!("users-{name}"), Either, |spec| {
            spec["load"]["closed"]["users"] = value.clone();
        }));
        all.push(hostile(&format!("rate-{name}"), Either, |spec| {
            spec["load"] = json!({"open": {"rate": value, "duration": "1h", "maxInFlight": 5}});
        }));
        all.push(hostile(&format!("seed-{name}"), Either, |spec| {
            spec["load"]["seed"] = value.clone()
        }));
        all.push(hostile(&format!("repeat-{name}"), Either, |spec| {
            step(spec)["repeat"] = json!({"count": value, "every": "0s"});
        }));
        all.push(hostile(&format!("variable-{name}"), Either, |spec| {
            spec["variables"] = json!({"v": value});
            body(spec, "{{ mul(v, v) }}{{ int(v) }}{{ float(v) }}".to_owned());
        }));
    }
    for (name, text) in [
        ("years", "99999999999999999999h"),
        ("sum", "9223372036854775807ns9223372036854775807h"),
        ("digits", "0.00000000000000000000000000000000000000001s"),
    ] {
        all.push(hostile(&format!("duration-{name}"), Either, |spec| {
            spec["load"]["closed"]["duration"] = json!(text);
        }));
        all.push(hostile(&format!("timeout-{name}"), Either, |spec| {
            spec["http"] = json!({"timeout": text});
        }));
        all.push(hostile(&format!("ttl-{name}"), Either, |spec| {
            spec["run"]["ttlAfterFinished"] = json!(text);
        }));
    }
    all
}
