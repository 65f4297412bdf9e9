//! Whether a value of `services.<name>.config` has the form its setting asks for. A service that cannot read
//! its configuration would only fail at its start, far from whoever wrote it.

use url::Url;

use super::duration;
use crate::build::workload::Form;

/// What is wrong with `value`, and how it should look.
pub(super) fn check(form: Form, value: &str) -> Result<(), &'static str> {
    let fits = match form {
        Form::Text => !value.trim().is_empty(),
        Form::Duration => duration::parse(value).is_some(),
        Form::Stock => entries(value, |units| units.parse::<u32>().is_ok()),
        Form::Catalogue => entries(value, is_price),
        Form::SmtpUrl => return check_smtp(value),
    };
    if fits { Ok(()) } else { Err(expected(form)) }
}

fn expected(form: Form) -> &'static str {
    match form {
        Form::Text => "must not be empty",
        Form::Duration => "must be a duration such as 90s, 15m or 1h30m",
        Form::Stock => "must be products and units such as burger=100,pizza=50",
        Form::Catalogue => "must be products and prices such as burger=8.99 USD,pizza=12.50 USD",
        Form::SmtpUrl => "must be a URL such as smtp://mail.example:587",
    }
}

fn check_smtp(value: &str) -> Result<(), &'static str> {
    let url = Url::parse(value).map_err(|_| expected(Form::SmtpUrl))?;
    if !matches!(url.scheme(), "smtp" | "smtps") || url.host_str().is_none_or(str::is_empty) {
        return Err(expected(Form::SmtpUrl));
    }
    if url.password().is_some() {
        return Err(
            "must not hold a password, because everybody who may read the pipeline would see it; put \
                    the URL into a Secret and set SMTP_URL in env with valueFrom.secretKeyRef",
        );
    }
    Ok(())
}

/// `name=value,…`, at least one, each value as `fits` wants it.
fn entries(text: &str, fits: impl Fn(&str) -> bool) -> bool {
    text.split(',').all(|entry| {
        entry.split_once('=').is_some_and(|(name, value)| !name.trim().is_empty() && fits(value.trim()))
    })
}

fn is_price(text: &str) -> bool {
    let is_number = |number: &str| number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.split_once(' ').is_some_and(|(amount, currency)| {
        !amount.is_empty()
            && is_number(amount)
            && currency.len() == 3
            && currency.chars().all(char::is_uppercase)
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Form::Stock, "burger=100,pizza=50", true)]
    #[case(Form::Stock, "burger=-1", false)]
    #[case(Form::Stock, "burger", false)]
    #[case(Form::Catalogue, "burger=8.99 USD", true)]
    #[case(Form::Catalogue, "burger=8.99", false)]
    #[case(Form::SmtpUrl, "smtp://mail:25", true)]
    #[case(Form::SmtpUrl, "http://mail", false)]
    #[case(Form::SmtpUrl, "smtps://user:hunter2@mail", false)]
    #[case(Form::Duration, "15m", true)]
    #[case(Form::Duration, "soon", false)]
    #[case(Form::Text, " ", false)]
    fn values_have_the_form_their_setting_asks_for(
        #[case] form: Form,
        #[case] value: &str,
        #[case] fits: bool,
    ) {
        assert_eq!(check(form, value).is_ok(), fits);
    }

    #[test]
    fn a_refused_password_is_not_repeated() {
        let message = check(Form::SmtpUrl, "smtps://user:hunter2@mail").unwrap_err();

        assert!(!message.contains("hunter2"));
    }
}
