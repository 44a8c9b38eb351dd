//! Grid templates in the state.

use super::*;

#[test]
fn templates_are_known_by_their_objects_uid() {
    let (template_uid, name) = (String::from("t"), String::from("orders"));
    let through = survivor(0);
    let upload = |digest: &str| Step::UploadTemplate {
        template_uid: template_uid.clone(),
        name: name.clone(),
        digest: digest.to_owned(),
        through: through.clone(),
    };
    let delete = Step::DeleteTemplate {
        template_uid: template_uid.clone(),
        name: name.clone(),
        through: through.clone(),
    };
    assert_eq!(folded(&after([upload("d1")])).templates["t"].digest, "d1");
    let found = Event::TemplateAdopted {
        template_uid: template_uid.clone(),
        name: name.clone(),
        digest: "d0".into(),
    };
    let replaced = folded(&with(vec![found], after([upload("d2")])));
    assert_eq!(replaced.templates["t"].digest, "d2");
    assert!(folded(&after([upload("d1"), delete])).templates.is_empty());
    let adopted = Event::TemplateAdopted { template_uid, name, digest: "d3".into() };
    assert_eq!(folded(&[adopted]).templates["t"].digest, "d3");
}
