// A file of its own, because the page's content security policy allows no inline script.
SwaggerUIBundle({
  url: "../openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null, // no badge from somebody else's server
});
