//! Fuzzes templates: any text compiles or is refused with a reason, and a rendered value is safe in
//! its place.

#![no_main]

use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use starling_fuzz::plan::names::{Declared, Names, Slot};
use starling_fuzz::plan::template::{JsonTemplate, Place, Scope, Template};

const PLACES: [Place; 7] = [
    Place::Text,
    Place::Header,
    Place::Path,
    Place::Target,
    Place::Form,
    Place::JsonString,
    Place::JsonValue,
];

struct Fixed {
    next: u64,
    value: Value,
    rows: Value,
}

impl Scope for Fixed {
    fn user(&self) -> u64 {
        7
    }

    fn iteration(&self) -> u64 {
        3
    }

    fn worker(&self) -> u32 {
        1
    }

    fn random(&mut self) -> u64 {
        self.next = self
            .next
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.next
    }

    fn sequence(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn value(&self, slot: Slot) -> Option<&Value> {
        (slot < 2).then_some(&self.value)
    }

    fn batch(&self, _: Slot, _: u32) -> Option<&Value> {
        Some(&self.rows)
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&how, bytes)) = data.split_first() else {
        return;
    };
    let place = PLACES[usize::from(how) % PLACES.len()];
    let source = String::from_utf8_lossy(bytes);
    let mut names = Names::default();
    names.declare("constant", Declared::Constant(json!("a b&c\r\nd").into()));
    names.declare("list", Declared::Constant(json!([1, "x", {"y": null}]).into()));
    names.declare("given", Declared::External);
    names.declare("value", Declared::Value(0));
    names.declare("row", Declared::Row(1));
    names.declare("unset", Declared::Value(2));
    let value = json!({"text": "a\r\nb\u{0}\"<é>", "number": 1.5, "list": [1, [2]]});
    let mut scope = Fixed {
        next: how.into(),
        rows: json!([value.clone(), {}]),
        value,
    };
    if let Ok(template) = Template::parse(&source) {
        assert_eq!(template.source(), source);
        let mut out = Vec::new();
        if let Ok(compiled) = template.compile(&names, place)
            && compiled.render(&mut scope, &mut out).is_ok()
        {
            is_safe(place, &source, &out);
        }
    }
    let json = serde_json::from_slice(bytes).unwrap_or_else(|_| json!({"a": [source]}));
    if let Ok(template) = JsonTemplate::new(json)
        && let Ok(compiled) = template.compile(&names)
    {
        let mut out = Vec::new();
        if compiled.render(&mut scope, &mut out).is_ok() {
            is_safe(Place::JsonValue, &source, &out);
        }
    }
});

fn is_safe(place: Place, source: &str, out: &[u8]) {
    let shown = || String::from_utf8_lossy(out);
    match place {
        Place::Text => {}
        Place::Header => assert!(
            !out.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)),
            "{}",
            shown()
        ),
        // what `raw` puts into a body is the author's own responsibility
        Place::Form | Place::JsonString if source.contains("raw") => {}
        Place::Path | Place::Target | Place::Form => {
            assert!(
                out.iter()
                    .all(|byte| byte.is_ascii_graphic() && *byte != b'#'),
                "{}",
                shown()
            );
        }
        Place::JsonString => {
            let quoted = [b"\"", out, b"\""].concat();
            assert!(
                serde_json::from_slice::<String>(&quoted).is_ok(),
                "{}",
                shown()
            );
        }
        Place::JsonValue => {}
    }
}
