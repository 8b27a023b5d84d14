//! Expressions over answers that take too many steps.

use super::*;

#[test]
fn an_expression_that_takes_too_many_steps_has_a_class_of_its_own_and_no_default() {
    let list: Vec<u32> = (0..3_000).collect();
    let body = json!({ "list": list }).to_string();
    let large = answer(200, body.as_bytes());
    let cel = Cel::parse("json.list.all(a, json.list.all(b, a + b >= 0))").unwrap();
    let class = |failure: Option<(ErrorClass, String)>| failure.map(|(class, _)| class);
    assert_eq!(
        class(failure_of(&Check::Cel(cel), &large)),
        Some(ErrorClass::Expression)
    );
    let nested = path("$.list[?count($.list[*]) > 1]");
    let check = Check::JsonPath {
        path: nested.clone(),
        must: vec![Condition::Exists(true)],
    };
    assert_eq!(
        class(failure_of(&check, &large)),
        Some(ErrorClass::Expression)
    );
    assert_eq!(
        failure_of(&check, &answer(200, br#"{"list": [1, 2]}"#)),
        None
    );
    let extract = Extract {
        name: "found".into(),
        from: ExtractFrom::JsonPath {
            path: nested,
            all: true,
        },
        default: Some(json!("default")),
    };
    let judged = rules(&[], &[extract], &[]).judge(&large, &mut values());
    assert_eq!(class(judged.failure), Some(ErrorClass::Expression));
}
